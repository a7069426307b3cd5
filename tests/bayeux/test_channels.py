"""Names of channels and who owns them."""

import pytest

from sipbridge.bayeux import channels
from sipbridge.errors import InvalidValue


@pytest.mark.parametrize("name", ["/a", "/bayeux/app_1/presence", "/x/A-Z!~()$@", "/a" * 16])
def test_a_channel_is_slashes_and_segments(name: str) -> None:
    assert channels.is_channel(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "a",
        "/a/",
        "//a",
        "/a//b",
        "/a b",
        "/a.b",
        "/a\n",
        "/sip:a",
        "/ä",
        "/a/*",
        "/a" * 17,
        "/" + "a" * 256,
    ],
)
def test_everything_else_is_no_channel(name: str) -> None:
    assert not channels.is_channel(name)


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("/a/*", True),
        ("/a/**", True),
        ("/*", True),
        ("/a/***", False),
        ("/*/a", False),
        ("/a*", False),
        ("/a", False),
    ],
)
def test_only_the_last_segment_may_be_a_wildcard(name: str, verdict: bool) -> None:
    assert channels.is_pattern(name) is verdict


@pytest.mark.parametrize(
    ("channel", "verdict"),
    [
        ("/bayeux/app1", True),
        ("/bayeux/app1/presence", True),
        ("/bayeux/app1/*", True),
        ("/bayeux/app1/**", True),
        ("/bayeux/app1x", False),
        ("/bayeux/app1x/presence", False),
        ("/bayeux/*", False),
        ("/bayeux/**", False),
        ("/**", False),
        ("/other/app1", False),
    ],
)
def test_an_application_owns_whole_segments_below_its_name(channel: str, verdict: bool) -> None:
    assert channels.owns("app1", channel) is verdict


def test_an_id_that_is_no_segment_owns_nothing() -> None:
    assert not channels.owns("app.1", "/bayeux/app.1")
    assert not channels.owns("", "/bayeux/")
    assert not channels.owns("a/b", "/bayeux/a/b")


def test_endpoints_are_own_channels_without_wildcard() -> None:
    channels.check_endpoint("app1", "/bayeux/app1/presence")
    for bad in ("/bayeux/app1/*", "/bayeux/app2", "no channel"):
        with pytest.raises(InvalidValue) as refused:
            channels.check_endpoint("app1", bad)
        assert refused.value.part == "endpoint"


def test_a_channel_is_matched_by_itself_and_patterns_of_its_ancestors() -> None:
    assert channels.matching("/a/b/c") == ("/a/b/c", "/a/b/*", "/a/b/**", "/a/**", "/**")
    assert channels.matching("/a") == ("/a", "/*", "/**")


def test_names_and_patterns_match_channels() -> None:
    assert channels.matches("/a/b", "/a/b")
    assert channels.matches("/a/*", "/a/b")
    assert not channels.matches("/a/*", "/a/b/c")
    assert channels.matches("/a/**", "/a/b/c")
    assert not channels.matches("/a/**", "/a")
