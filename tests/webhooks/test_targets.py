"""Which URLs are accepted, and which addresses are connected to."""

import ipaddress

import pytest

from sipbridge.errors import InvalidValue
from sipbridge.webhooks.targets import Target, check, is_webhook, may_connect, read_address

OUTSIDE = ["93.184.216.34", "8.8.8.8", "2606:4700:4700::1111", "64:ff9b::808:808"]
INSIDE = [
    "127.0.0.1",
    "127.9.9.9",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",  # where clouds keep the credentials of a machine
    "100.64.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "240.0.0.1",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd12:3456::1",
    "fec0::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2001:0:0:0:0:0:f5ff:fffe",  # Teredo of 10.0.0.1
]
NEVER = ["0.0.0.0", "255.255.255.255", "224.0.0.1", "::", "ff02::1", "::ffff:0.0.0.0"]


@pytest.mark.parametrize("text", OUTSIDE)
def test_the_internet_may_be_reached(text: str) -> None:
    assert may_connect(ipaddress.ip_address(text), allow_private=False)


@pytest.mark.parametrize("text", INSIDE)
def test_what_is_inside_may_be_reached_only_where_the_operator_says_so(text: str) -> None:
    address = read_address(text)
    assert address is not None
    assert not may_connect(address, allow_private=False)
    assert may_connect(address, allow_private=True)


@pytest.mark.parametrize("text", NEVER)
def test_what_is_no_host_is_never_reached(text: str) -> None:
    assert not may_connect(ipaddress.ip_address(text), allow_private=True)


def test_a_url_is_taken_apart() -> None:
    target = Target.parse("https://Hooks.Example.com/in/a%20b?k=v&x")
    assert target == Target("https", "hooks.example.com", 443, "/in/a%20b?k=v&x")
    assert target.authority == "hooks.example.com"
    assert target.origin == "https://hooks.example.com:443"


def test_ports_and_brackets_stay_in_the_host_header() -> None:
    assert Target.parse("http://[2606:4700::1]:8080").authority == "[2606:4700::1]:8080"
    assert Target.parse("http://[2606:4700::1]:8080").resource == "/"
    assert Target.parse("http://example.com:80/").authority == "example.com"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "http:///path",
        "http://",
        "https://user@example.com/",
        "https://user:word@example.com/",
        "https://example.com/#part",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com:x/",
        "https://exa mple.com/",
        "https://example.com/a\r\nX-More: 1",
        "https://exämple.com/",
        "https://[::1/",
        "https://[fe80::zz]/",
        "https://evil.com\\@example.com/",
        "https://example.com/" + "a" * 2000,
    ],
)
def test_what_is_no_plain_web_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        Target.parse(url)
    assert caught.value.part == "endpoint"


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "10.1.2.3", "[::ffff:10.1.2.3]"])
def test_an_address_inside_is_refused_at_once(host: str) -> None:
    with pytest.raises(InvalidValue):
        check(f"http://{host}/", allow_private=False)
    assert check(f"http://{host}/", allow_private=True).scheme == "http"


@pytest.mark.parametrize("host", ["localhost", "0x7f.1", "2130706433", "intern.example"])
def test_of_a_name_only_the_resolver_knows_where_it_leads(host: str) -> None:
    assert check(f"http://{host}/", allow_private=False).host == host


def test_channels_are_no_webhooks() -> None:
    assert not is_webhook("/bayeux/app_bob/presence")
    assert not is_webhook("/bayeux/http://x")
    assert is_webhook("https://example.com/")
    assert is_webhook("ftp://example.com/")  # so that it is refused as what it is
