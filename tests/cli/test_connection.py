"""Where the SIP clients connect."""

from pathlib import Path

import pytest

from sipbridge.cli.connection import connection
from sipbridge.errors import ConfigurationError


def test_a_server_has_the_default_port_of_its_transport() -> None:
    peer = connection("example.com", "tcp", "", "", None, None, False)
    assert (peer.host, peer.port, peer.from_, peer.password) == ("example.com", 5060, None, None)
    ports = {"udp": 5060, "tls": 5061, "ws": 80, "wss": 443}
    for transport, port in ports.items():
        assert connection("", transport, "", "", None, None, False).port == port
    peer = connection("[::1]:5070", "udp", "sip:a@b", "a", None, None, False)
    assert (peer.host, peer.port) == ("[::1]", 5070)
    assert str(peer.from_) == "sip:a@b"


def test_a_password_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "pw"
    path.write_text("secret\nmore\n")
    assert connection("a", "udp", "", "", path, None, False).password == "secret"
    path.write_text("\n")
    with pytest.raises(ConfigurationError, match="first line is empty"):
        connection("a", "udp", "", "", path, None, False)


def test_only_secure_transports_have_somebody_to_trust(tmp_path: Path) -> None:
    assert connection("a", "ws", "", "", None, None, False).tls is None
    peer = connection("a", "wss", "", "", None, None, False)
    assert peer.tls is not None and peer.tls.checks
    careless = connection("a", "tls", "", "", None, None, True)
    assert careless.tls is not None and not careless.tls.checks
    with pytest.raises(ConfigurationError, match="--ca-file: .*none: No such file"):
        connection("a", "tls", "", "", None, tmp_path / "none", False)
