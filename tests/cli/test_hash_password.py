"""Hashes that the configuration takes."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher

from sipbridge.app.settings import load, read_users

Shell = Callable[..., Any]


def test_the_hash_verifies_and_the_settings_take_it(shell: Shell, tmp_path: Path) -> None:
    told = shell("hash-password", stdin="gr\u00fcn \n".encode())
    assert told.status == 0
    (line,) = told.out.splitlines()
    assert PasswordHasher().verify(line, "gr\u00fcn ")
    path = tmp_path / "sipbridge.toml"
    path.write_text(
        f"[[applications]]\nid = 'a'\nuri = 'sip:a@example.com'\npassword_hash = '{line}'\n"
    )
    (application,) = load(path, environ={}).applications
    assert application.password_hash is not None
    assert application.password_hash.get_secret_value() == line


def test_digest_hashes_are_lines_of_the_users_file(shell: Shell, tmp_path: Path) -> None:
    told = shell("hash-password", "--ha1", "alice", "example.com", stdin=b"secret")
    assert told.status == 0
    path = tmp_path / "users"
    path.write_text(told.out)
    secret = b"alice:example.com:secret"
    assert read_users(path) == {
        ("alice", "example.com", "MD5"): hashlib.md5(secret).hexdigest(),
        ("alice", "example.com", "SHA-256"): hashlib.sha256(secret).hexdigest(),
        ("alice", "example.com", "SHA-512-256"): hashlib.new("sha512_256", secret).hexdigest(),
    }


@pytest.mark.parametrize(
    ("arguments", "stdin", "fault"),
    [
        ([], b"", "password: is empty"),
        ([], b"\nsecret\n", "password: is empty"),
        (["--ha1", "a:b", "example.com"], b"x", "--ha1: USER and REALM"),
        (["--ha1", "", "example.com"], b"x", "--ha1: USER and REALM"),
        (["--ha1", "a", "x\ny"], b"x", "--ha1: USER and REALM"),
    ],
)
def test_what_no_file_could_hold_is_refused(
    shell: Shell, arguments: list[str], stdin: bytes, fault: str
) -> None:
    told = shell("hash-password", *arguments, stdin=stdin)
    assert (told.status, told.out) == (2, "")
    assert told.err.startswith(fault)
