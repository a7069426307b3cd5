from sipbridge.events.package import EventPackage
from sipbridge.events.presence_package import PIDF, PRESENCE
from sipbridge.events.winfo_package import PRESENCE_WINFO, WATCHERINFO


def test_presence_is_as_rfc_3856_section_6_says() -> None:
    assert (PRESENCE.name, PRESENCE.body_types, PRESENCE.default_expires) == (
        "presence",
        (PIDF,),
        3600,
    )
    assert not PRESENCE.forking


def test_winfo_is_as_rfc_3857_section_4_says() -> None:
    assert (PRESENCE_WINFO.name, PRESENCE_WINFO.body_types) == ("presence.winfo", (WATCHERINFO,))
    assert PRESENCE_WINFO.default_expires == 3600


def test_what_is_not_asked_for_may_still_be_read() -> None:
    package = EventPackage("x", ("a/b",), also_read=("c/d",))
    assert [package.reads(t) for t in ("a/b", "c/d", "e/f")] == [True, True, False]


def test_body_types_may_be_ranges() -> None:
    assert EventPackage("toy", ("*/*",)).reads("text/plain")
    some = EventPackage("toy", ("application/*", "text/plain"))
    assert some.reads("application/pidf+xml") and some.reads("text/plain")
    assert not some.reads("text/html")
