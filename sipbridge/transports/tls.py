"""TLS under connections: certificates, names, and their change while we run (RFC 3261 §26, RFC 5922).

`Tls` holds what `sip.tls` names. It gives contexts for TLS 1.2 and 1.3: one for all accepted connections,
which picks the certificate by the name the client asks for (SNI, RFC 6066 §3), and one for those we open. The
files are looked at when a handshake begins: a certificate that was renewed on disk serves the next
connection, and connections that are open stay as they are. What cannot be used (half written, without its
key, expired) is reported once and changes nothing.

Whom a certificate belongs to is decided as RFC 5922 §7 says. Its identities are the hosts of its `sip:` URIs
without user part; only if it has none, its DNS names; only if it has no alternative names at all, its common
name. They are compared with the host we asked for before it was looked up; letters may differ in case, and a
wildcard matches nothing but itself. An IP address is no SIP domain: where one was asked for it has to stand
among the IP addresses of the certificate (RFC 9525 §6.5), or as the host of a `sip:` URI.

A client whose handshake fails is told why. The event loops only close the connection then, with the alert
still unsent; `Handshake` keeps it, and whoever accepted the connection sends it (RFC 8446 §6.2).

`verify`: "peer" checks servers we connect to, "mutual" also demands a certificate of every client, "none"
checks nobody.
"""

import ipaddress
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from sipbridge.errors import ConfigurationError, ParseError
from sipbridge.sip.indications import CertificateLoaded, CertificateRefused
from sipbridge.uri import Uri

PUBLIC = serialization.PublicFormat.SubjectPublicKeyInfo
NOT_CHECKED = "none"
Wall = Callable[[], datetime]
Signature = tuple[tuple[int, int, int], ...]
"""Of each file when it was changed, its length and its number on the disk."""


@dataclass(slots=True)
class Handshake:
    """One handshake with a client; `alert` is what it has to be told when it has failed."""

    alert: bytes = b""


UNDER_WAY: ContextVar[Handshake | None] = ContextVar("handshake", default=None)
"""The handshake of the task that accepts a connection."""


class TellingObject(ssl.SSLObject):
    """Keeps the alert of a failed handshake for `Handshake`."""

    outgoing: ssl.MemoryBIO
    handshake: Handshake | None

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            if self.handshake is not None:
                self.handshake.alert = self.outgoing.read()
            raise


class TellingContext(ssl.SSLContext):
    """Makes `TellingObject`s for the handshake under way."""

    sslobject_class = TellingObject

    def wrap_bio(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *more: Any, **named: Any
    ) -> Any:
        made = super().wrap_bio(incoming, outgoing, *more, **named)
        assert isinstance(made, TellingObject)
        made.outgoing, made.handshake = outgoing, UNDER_WAY.get()
        return made


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate chain and its private key, PEM; `section` is where the configuration names them."""

    cert: Path
    key: Path
    section: str = "sip.tls"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A key pair that can be used."""

    context: ssl.SSLContext
    names: frozenset[str]


class Tls:
    """The certificates of one bridge and the contexts made of them."""

    def __init__(
        self,
        pairs: Sequence[KeyPair] = (),
        *,
        ca: Path | None = None,
        verify: str = "peer",
        wall: Wall = lambda: datetime.now(UTC),
        report: Callable[[object], None] = lambda said: None,
    ) -> None:
        """Reads everything. Without `ca` the system's authorities are trusted. Raises ConfigurationError."""
        self.pairs = tuple(pairs)
        self.ca = ca
        self.verify = verify
        self.wall = wall
        self.report = report
        self.expires: dict[str, datetime] = {}
        """Until when the certificates in use are good, by the key that names them."""
        self.seen = self.signature()
        self.loaded, self.ours = self.load()
        self.outer = self.outer_context()

    @property
    def checks(self) -> bool:
        """Are the servers that we connect to checked?"""
        return self.verify != NOT_CHECKED

    @property
    def mutual(self) -> bool:
        return self.verify == "mutual"

    def server(self) -> ssl.SSLContext:
        """For connections that are accepted. The certificate is chosen in the handshake."""
        self.refresh()
        if self.outer is None:
            raise ConfigurationError("sip.tls.cert", "needed where TLS connections are accepted")
        return self.outer

    def client(self) -> ssl.SSLContext:
        """For connections that we open."""
        self.refresh()
        return self.ours

    def refusal(self, connection: Any, name: str) -> str:
        """Why this server is not the one that was asked for; "" if it is, or if nobody wants to know."""
        if not self.checks:
            return ""
        certificate: Mapping[str, Any] = connection.getpeercert() or {}
        if belongs_to(certificate, name):
            return ""
        shown = ", ".join(sorted(identities(certificate))) or "nobody"
        return f"the certificate is not for {name} but for {shown} (RFC 5922)"

    # --- what is on the disk ----------------------------------------------------------------------

    def files(self) -> list[Path]:
        named = [path for pair in self.pairs for path in (pair.cert, pair.key)]
        return [*named, self.ca] if self.ca is not None else named

    def signature(self) -> Signature:
        """What tells that a file is another; a missing one has none."""
        found = []
        for path in self.files():
            try:
                stat = os.stat(path)
            except OSError:
                found.append((0, 0, 0))
            else:
                found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return tuple(found)

    def refresh(self) -> None:
        """Take up what has changed on the disk, if it can be used."""
        now_there = self.signature()
        if now_there == self.seen:
            return
        self.seen = now_there
        try:
            self.loaded, self.ours = self.load()
        except ConfigurationError as error:
            self.report(CertificateRefused(error.key, error.expected))
        else:
            self.outer = self.outer_context()  # a new one: sessions of before are not resumed
            for key, until in self.expires.items():
                self.report(CertificateLoaded(key, until.isoformat()))

    def load(self) -> tuple[list[Loaded], ssl.SSLContext]:
        """Everything, or ConfigurationError and nothing."""
        leaves = [read_pair(pair, self.wall()) for pair in self.pairs]
        loaded = []
        for pair, leaf in zip(self.pairs, leaves, strict=True):
            context = self.server_context()
            load_pair(context, pair)
            loaded.append(Loaded(context, names_for_selection(leaf)))
        ours = plain_context(ssl.PROTOCOL_TLS_CLIENT)
        ours.check_hostname = False  # §7 of RFC 5922 is not what OpenSSL checks
        ours.verify_mode = ssl.CERT_REQUIRED if self.checks else ssl.CERT_NONE
        if self.pairs:
            load_pair(ours, self.pairs[0])
        self.load_authorities(ours)
        self.expires = {
            f"{pair.section}.cert": leaf.not_valid_after_utc
            for pair, leaf in zip(self.pairs, leaves, strict=True)
        }
        return loaded, ours

    def outer_context(self) -> ssl.SSLContext | None:
        """What handshakes begin with; it has no certificate, `choose` gives one."""
        if not self.pairs:
            return None
        context = self.server_context()
        context.sni_callback = self.choose
        return context

    def server_context(self) -> ssl.SSLContext:
        context = plain_context(ssl.PROTOCOL_TLS_SERVER)
        if self.mutual:
            context.verify_mode = ssl.CERT_REQUIRED
            self.load_authorities(context)
        return context

    def load_authorities(self, context: ssl.SSLContext) -> None:
        if context.verify_mode == ssl.CERT_NONE and self.ca is None:
            return
        if self.ca is None:
            context.load_default_certs()
            return
        try:
            context.load_verify_locations(self.ca)
        except (ssl.SSLError, OSError) as error:
            why = error.strerror if not isinstance(error, ssl.SSLError) else "holds no certificate"
            raise ConfigurationError("sip.tls.ca", f"{self.ca}: {why}") from None

    def choose(self, connection: Any, name: str | None, context: ssl.SSLContext) -> None:
        """Called within each handshake: the certificate for the name the client asks for, else the first."""
        connection.context = self.fitting((name or "").lower().rstrip(".")).context

    def fitting(self, name: str) -> Loaded:
        wild = f"*.{name.partition('.')[2]}"
        for wanted in (name, wild):
            for one in self.loaded:
                if wanted in one.names:
                    return one
        return self.loaded[0]


def plain_context(protocol: int) -> ssl.SSLContext:
    """TLS 1.2 and 1.3; what is older has been forbidden since RFC 8996."""
    context = TellingContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def load_pair(context: ssl.SSLContext, pair: KeyPair) -> None:
    """Into a context. Raises ConfigurationError for what `read_pair` could not notice."""
    try:
        context.load_cert_chain(pair.cert, pair.key, password="")
    except (ssl.SSLError, OSError) as error:
        why = reason_of(error)
        raise ConfigurationError(f"{pair.section}.cert", f"{pair.cert}: {why}") from None


def read_pair(pair: KeyPair, at: datetime) -> x509.Certificate:
    """The certificate of the pair. Raises ConfigurationError with a sentence for people."""
    cert_key, key_key = f"{pair.section}.cert", f"{pair.section}.key"
    pem = read(cert_key, pair.cert)
    try:
        leaf = x509.load_pem_x509_certificates(pem)[0]
    except (ValueError, IndexError):
        raise ConfigurationError(cert_key, f"{pair.cert}: is no PEM certificate") from None
    secret = read(key_key, pair.key)
    try:
        key = serialization.load_pem_private_key(secret, None)
    except TypeError:
        raise ConfigurationError(
            key_key, f"{pair.key}: is encrypted; a key without password is needed"
        ) from None
    except ValueError:
        raise ConfigurationError(key_key, f"{pair.key}: is no PEM private key") from None
    pem_form = serialization.Encoding.PEM
    if key.public_key().public_bytes(pem_form, PUBLIC) != leaf.public_key().public_bytes(
        pem_form, PUBLIC
    ):
        raise ConfigurationError(key_key, f"{pair.key}: is not the key of {pair.cert}")
    if leaf.not_valid_after_utc < at:
        when = leaf.not_valid_after_utc.isoformat(" ", "seconds")
        raise ConfigurationError(cert_key, f"{pair.cert}: expired on {when}")
    if leaf.not_valid_before_utc > at:
        when = leaf.not_valid_before_utc.isoformat(" ", "seconds")
        raise ConfigurationError(cert_key, f"{pair.cert}: is not valid before {when}")
    return leaf


def read(key: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(key, f"{path}: {error.strerror}") from None


def reason_of(error: OSError) -> str:
    """What went wrong, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    if error.errno:
        return os.strerror(error.errno)  # asyncio's own words name the address once more
    return error.strerror or str(error) or type(error).__name__


# --- whose certificate is it ----------------------------------------------------------------------------


def identities(certificate: Mapping[str, Any]) -> frozenset[str]:
    """The SIP domain identities of a certificate as `ssl` reads it, in lower case (RFC 5922 §7.1)."""
    names = certificate.get("subjectAltName", ())
    uris = {host for kind, value in names if kind == "URI" and (host := sip_host(value))}
    if uris:
        return frozenset(uris)
    if names:
        return frozenset(plain_name(value) for kind, value in names if kind == "DNS")
    subject = certificate.get("subject", ())
    return frozenset(
        plain_name(value) for part in subject for kind, value in part if kind == "commonName"
    )


def sip_host(text: str) -> str:
    """The host of a sip URI without user part; "" of any other."""
    try:
        uri = Uri.parse(text)
    except ParseError:
        return ""
    return plain_name(uri.host) if uri.scheme == "sip" and uri.user is None else ""


def plain_name(name: str) -> str:
    return name.lower().rstrip(".").strip("[]")


def belongs_to(certificate: Mapping[str, Any], name: str) -> bool:
    """Is it the certificate of this host? Wildcards match nothing (RFC 5922 §7.2)."""
    wanted = plain_name(name)
    try:
        address = ipaddress.ip_address(wanted)
    except ValueError:
        return bool(wanted) and wanted in identities(certificate)
    listed = [v for kind, v in certificate.get("subjectAltName", ()) if kind == "IP Address"]
    return any(ipaddress.ip_address(v) == address for v in listed) or any(
        kind == "URI" and sip_host(value) == wanted
        for kind, value in certificate.get("subjectAltName", ())
    )


def shown_identities(connection: Any) -> frozenset[str]:
    """What the client's certificate proves; nothing where none was asked for."""
    certificate: Mapping[str, Any] = connection.getpeercert() or {}
    listed = certificate.get("subjectAltName", ())
    addresses = {plain_name(value) for kind, value in listed if kind == "IP Address"}
    return identities(certificate) | addresses


def names_for_selection(leaf: x509.Certificate) -> frozenset[str]:
    """Names by which a client may ask for this certificate; here a wildcard stands for its names."""
    try:
        listed = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    names = {plain_name(name) for name in listed.get_values_for_type(x509.DNSName)}
    uris = listed.get_values_for_type(x509.UniformResourceIdentifier)
    return frozenset(names | {host for uri in uris if (host := sip_host(uri))})
