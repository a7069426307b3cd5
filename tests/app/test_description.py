"""Schemathesis against `sipbridge serve`: what the description says is what is answered.

It reads /openapi.json and sends what fits the schemas and what does not. All
checks hold but `positive_data_acceptance` (a schema cannot say that a watcher never asked) and, on routes
that read requests widely, `negative_data_rejection`. The endless streams are left out, and so are the long
polls of Bayeux, which are not in the description.

A sample runs here, as large on a slow machine as on a fast one; `SIPBRIDGE_SCHEMATHESIS=full` runs at least
2,000 cases, through all phases.
"""

import asyncio
import json
import os
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from pathlib import Path

import argon2
import pytest

from tests.app.processes import served
from tests.app.rig import application, configuration

FULL = os.environ.get("SIPBRIDGE_SCHEMATHESIS") == "full"
PASSWORD = "let me in"
CONFIGURATION = """
[checks]
positive_data_acceptance.enabled = false

[auth.openapi.basic]
username = "app_bob"
password = "secret-bob"

[auth.openapi.bearer]
bearer = "0123456789abcdef"

[auth.openapi.operator]
username = "admin"
password = "{password}"

[parameters]
"header.X-Presence-Identity" = "sip:bob@example.com"
"header.X-Session-ID" = "any"
"query.presentity" = "sip:alice@example.com"
"path.presentity" = "sip:alice@example.com"
"path.watcher" = "sip:bob@example.com"

[[operations]]
include-path-regex = "^/(rest|bems|presence)/"
checks.negative_data_rejection.enabled = false
"""


def options(url: str) -> list[str]:
    chosen = [f"{url}/openapi.json", "--exclude-path", "/rest/presence/events"]
    chosen += ["--exclude-path", "/admin/trace", "--exclude-path-regex", "^/bems/(not|ev)"]
    for kind, path in (
        ("path", "/webex/people/presences/events"),
        ("operation-id", "streamStatuses"),
    ):
        chosen += [f"--exclude-{kind}", path]
    chosen += ["--continue-on-failure", "--no-shrink", "--report-json-path", "report.json"]
    if FULL:
        return [*chosen, "-n", "150"]
    return [*chosen, "-n", "2", "--phases", "examples,fuzzing"]


@pytest.mark.timeout(900 if FULL else 180)  # thousands of requests, one after another
async def test_the_description_holds(tmp_path: Path) -> None:
    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    bob = application("bob", auth_tokens=["0123456789abcdef"])
    tree = configuration(
        admin={"password_hash": hasher.hash(PASSWORD)}, applications=[application("alice"), bob]
    )
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION.format(password=PASSWORD))
    async with served(tmp_path, tree) as bridge:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "run", *options(bridge.base)),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            cwd=tmp_path,
        )
        said = (await process.communicate())[0].decode()
        assert process.returncode == 0, said[-8000:]
        log = "\n".join(bridge.bridge.log)
        assert "Traceback" not in log and "failed:" not in log
        assert await bridge.stop() == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["operations"]["selected"] > 20
    (count,) = re.findall(r"(\d+) generated", said)
    assert int(count) >= (2000 if FULL else 50)
