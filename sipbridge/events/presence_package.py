"""The event package `presence` (RFC 3856 §6)."""

from sipbridge.events.package import EventPackage

PIDF = "application/pidf+xml"
PIDF_DIFF = "application/pidf-diff+xml"
EVENTLIST = "eventlist"
"""The option tag of resource lists (RFC 4662 §4.1)."""
BRINGS_LIST = "recipient-list-subscribe"
"""The option tag of a SUBSCRIBE that brings its list (RFC 5367 §3)."""
RESOURCE_LISTS = "application/resource-lists+xml"
"""What such a list is written in (RFC 5363 §4)."""
SIMPLE_FILTER = "application/simple-filter+xml"
"""What event filters are written in (RFC 4661 §3.1)."""
LIST_TYPES = ("multipart/related", "application/rlmi+xml")
"""What a resource list server sends (RFC 4662 §4.1), asked for only with `Supported: eventlist`."""

PRESENCE = EventPackage(
    "presence",
    (PIDF,),
    default_expires=3600,
    rfc="RFC 3856",
    also_read=(
        *LIST_TYPES,
        PIDF_DIFF,
        "application/xpidf+xml",  # the draft that old clients still speak
        "application/cpim-pidf+xml",  # PIDF before it had a number
    ),
    whole_states=(PIDF,),
    asked_with=(RESOURCE_LISTS, SIMPLE_FILTER),
    partial_type=PIDF_DIFF,
)
