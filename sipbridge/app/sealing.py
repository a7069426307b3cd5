"""Secrets that have to be known again, encrypted at rest.

Digest needs a SIP password itself, so it cannot be kept as a hash. It is sealed with a key that lies beside
the store in a file of its own, readable by its owner only: who gets hold of the state file, or of a backup
of it, has no password yet. The sealing is Fernet (AES-128-CBC with HMAC-SHA256).
"""

import os
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from sipbridge.errors import ConfigurationError

KEY = "store.key_file"


class Seal:
    """Seals and opens texts. path: the key file, made when it is first needed; None: a key for this run."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.known: Fernet | None = None if path is not None else Fernet(Fernet.generate_key())

    def close(self, text: str) -> str:
        """The sealed text. Raises ConfigurationError when the key file cannot be made or read."""
        return self.fernet(make=True).encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """The text. Raises ConfigurationError when the key is gone or another one."""
        try:
            return self.fernet(make=False).decrypt(sealed.encode()).decode()
        except InvalidToken:
            raise ConfigurationError(
                KEY, f"{self.path}: is not the key the SIP passwords in the store were sealed with"
            ) from None

    def fernet(self, *, make: bool) -> Fernet:
        if self.known is None:
            self.known = self.read(make)
        return self.known

    def read(self, make: bool) -> Fernet:
        assert self.path is not None
        try:
            if make and not self.path.exists():
                write_new(self.path, Fernet.generate_key())
            return Fernet(self.path.read_bytes().strip())
        except OSError as error:
            raise ConfigurationError(KEY, f"{self.path}: {error.strerror or error}") from None
        except ValueError:
            raise ConfigurationError(KEY, f"{self.path}: is no key") from None


def write_new(path: Path, key: bytes) -> None:
    """A new file that only its owner reads, whole or not at all."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        return  # somebody else made one meanwhile: that one counts
    finally:
        draft.unlink()
