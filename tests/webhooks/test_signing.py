"""What we sign is what others verify: OpenSSL, and the function that the README gives to receivers."""

import base64
import hashlib
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from sipbridge.webhooks.signing import read_secret, sign, signed_headers

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
BODY = '{"statusChanged":{"note":"Besprechung, „spät“"}}'.encode()
README = Path(__file__).parents[2] / "README.md"


def readers_own() -> Any:
    """`genuine` as it stands in the README."""
    text = README.read_text(encoding="utf-8")
    found = re.search(r"```python\n(import base64.*?def genuine.*?)```", text, re.DOTALL)
    assert found is not None, "README shows no function `genuine`"
    assert len(found[1].strip().splitlines()) <= 10
    names: dict[str, Any] = {}
    exec(found[1], names)
    return names["genuine"]


def headers(at: float, id: str = "app_bob-17") -> dict[str, str]:
    return {n.decode(): v.decode() for n, v in signed_headers(KEY, id, int(at), BODY)}


def test_openssl_computes_the_same_signature() -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl command")
    made = subprocess.run(
        ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{KEY.hex()}", "-binary"],
        input=b"app_bob-17.1700000000." + BODY,
        capture_output=True,
        check=True,
    ).stdout
    assert sign(KEY, "app_bob-17", 1700000000, BODY) == "v1," + base64.b64encode(made).decode()


def test_hmac_by_its_definition_gives_the_same_signature() -> None:
    """RFC 2104 §2, from plain SHA-256."""
    padded = KEY.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in padded) + b"a-1.5." + BODY).digest()
    outer = hashlib.sha256(bytes(b ^ 0x5C for b in padded) + inner).digest()
    assert sign(KEY, "a-1", 5, BODY) == "v1," + base64.b64encode(outer).decode()


def test_the_function_in_the_readme_accepts_what_we_sign() -> None:
    assert readers_own()(SECRET, headers(time.time()), BODY)


@pytest.mark.parametrize("spoiled", ["body", "id", "timestamp", "signature", "secret", "late"])
def test_the_function_in_the_readme_refuses_what_was_changed(spoiled: str) -> None:
    at = time.time() - (600 if spoiled == "late" else 0)
    given, body, secret = headers(at), BODY, SECRET
    if spoiled == "body":
        body += b" "
    elif spoiled == "id":
        given["webhook-id"] = "app_bob-18"
    elif spoiled == "timestamp":
        given["webhook-timestamp"] = str(int(at) + 1)
    elif spoiled == "signature":
        given["webhook-signature"] = "v1," + "A" * 43 + "="
    elif spoiled == "secret":
        secret = "whsec_" + base64.b64encode(KEY[::-1]).decode()
    assert not readers_own()(secret, given, body)


def test_a_secret_is_read() -> None:
    assert read_secret(SECRET) == KEY


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        base64.b64encode(KEY).decode(),
        "whsec_" + base64.b64encode(KEY[:23]).decode(),
        "whsec_" + base64.b64encode(KEY * 3).decode(),
        "whsec_not base64 at all, but quite long enough",
        "whsec_ünïcödeünïcödeünïcödeünïcöde",
    ],
)
def test_what_is_no_secret_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="openssl rand") as caught:
        read_secret(text)
    assert not text or text not in str(caught.value)
