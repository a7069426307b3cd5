"""`sipbridge hash-password`: the hash of a password for the configuration.

Without `--ha1` an argon2id hash for `applications.password_hash`. With it the lines of `agent.users_file`,
one for each digest algorithm (RFC 7616 §3.4.2: H(A1) = H(user:realm:password)).
"""

import getpass
import hashlib
import sys

from sipbridge.errors import ConfigurationError


def ask() -> str:
    """From the terminal, twice and unseen; else the first line of standard input."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise ConfigurationError("password", "the two are not the same")
    return password


def hash_lines(password: str, ha1: tuple[str, str] | None) -> list[str]:
    """What to print. Raises ConfigurationError for what no file of ours could hold."""
    if not password:
        raise ConfigurationError("password", "is empty")
    if ha1 is None:
        from argon2 import PasswordHasher

        return [PasswordHasher().hash(password)]
    user, realm = ha1
    if not user or not realm or ":" in user + realm or not (user + realm).isprintable():
        raise ConfigurationError("--ha1", "USER and REALM are not empty and have no colon in them")
    secret = f"{user}:{realm}:{password}".encode()
    return [
        f"{user}:{realm}:MD5:{hashlib.md5(secret, usedforsecurity=False).hexdigest()}",
        f"{user}:{realm}:SHA-256:{hashlib.sha256(secret).hexdigest()}",
        f"{user}:{realm}:SHA-512-256:{hashlib.new('sha512_256', secret).hexdigest()}",
    ]
