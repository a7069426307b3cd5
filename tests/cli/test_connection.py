"""Where the SIP clients connect."""

from pathlib import Path

import pytest

from sipbridge.cli.connection import connection
from sipbridge.errors import ConfigurationError


def test_a_server_has_the_default_port_and_a_next_hop() -> None:
    peer = connection("example.com", "tcp", "", "", None, None, False)
    assert (peer.host, peer.port, peer.from_, peer.password) == ("example.com", 5060, None, None)
    assert peer.next_hop == "sip:example.com:5060;transport=tcp"
    peer = connection("[::1]:5070", "udp", "sip:a@b", "a", None, None, False)
    assert peer.next_hop == "sip:[::1]:5070;transport=udp"
    assert str(peer.from_) == "sip:a@b"


def test_a_password_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "pw"
    path.write_text("secret\nmore\n")
    assert connection("a", "udp", "", "", path, None, False).password == "secret"
    path.write_text("\n")
    with pytest.raises(ConfigurationError, match="first line is empty"):
        connection("a", "udp", "", "", path, None, False)
