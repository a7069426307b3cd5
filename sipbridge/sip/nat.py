"""Where a peer behind a NAT is, if its Contact does not say so.

A phone writes the address it has into Contact; behind a NAT nobody outside can reach that. RFC 3581 helps
responses only. Who has no proxy in front that mends it may have requests of the dialog sent to where the
phone's own requests came from instead: the host and port of its Contact are replaced by those of the
source, as proxies do it (`fix_nated_contact`), and `maddr` and another `transport`, which would lead past
them, go. That is done for datagrams only, since over a connection the connection itself is used, and not
where a Record-Route says that a proxy looks after it. An answer over a connection says no better where its
sender is: such a Contact in it changes nothing.
"""

import ipaddress
from dataclasses import replace
from enum import StrEnum

from sipbridge.errors import ParseError
from sipbridge.sip.flow import Flow
from sipbridge.uri import Uri

PRIVATE = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),  # RFC 1918
        "100.64.0.0/10",  # RFC 6598
        "169.254.0.0/16",  # RFC 3927
        *("fc00::/7", "fe80::/10"),  # RFC 4193, RFC 4291
    )
)
"""Addresses that mean something else to everybody."""


class Nat(StrEnum):
    """Whose Contact is replaced by the source of its request."""

    OFF = "off"
    PRIVATE = "private"
    """One with a private address that is not the source's."""
    ALWAYS = "always"


def reachable(contact: str, flow: Flow | None, nat: Nat) -> str:
    """The text of a contact's URI as requests should have it; `flow` is where its sender was met."""
    if flow is None or flow.protocol != "udp":
        return contact
    uri = hidden(contact, flow, nat)
    if uri is None:
        return contact
    host, port = flow.remote
    kept = tuple(p for p in uri.parameters if not leads_elsewhere(*p))
    bracketed = f"[{host}]" if ":" in host else host
    return str(replace(uri, host=bracketed, port=port, parameters=kept))


def hidden(contact: str, flow: Flow, nat: Nat) -> Uri | None:
    """The contact's URI if it does not say where its sender is, who was met at `flow`; else None."""
    if nat is Nat.OFF:
        return None
    try:
        uri = Uri.parse(contact)
    except ParseError:
        return None
    if uri.scheme != "sip" or (nat is Nat.PRIVATE and not is_elsewhere(uri.host, flow.remote[0])):
        return None
    return uri


def leads_elsewhere(name: str, value: str | None) -> bool:
    """Would a URI with this parameter not lead to its host by UDP (RFC 3261 §19.1.1)?"""
    name = name.lower()
    return name == "maddr" or (name == "transport" and (value or "").lower() != "udp")


def is_elsewhere(host: str, source: str) -> bool:
    """Is it a private address, and not the one that was seen?"""
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
        seen = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return False
    return address != seen and any(address in network for network in PRIVATE)
