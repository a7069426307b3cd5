"""The extra `client`, installed where nothing else is, and README's examples."""

import asyncio
import contextlib
import re
import subprocess
import sys
import venv
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.app.processes import PATIENCE
from tests.app.rig import application, site

REPOSITORY = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```python\n(.+?)^```$", re.MULTILINE | re.DOTALL)
OFFLINE = ("NameResolutionError", "name resolution", "Failed to establish a new connection")
SERVER = ("lxml", "fastapi", "starlette", "pydantic", "orjson", "uvicorn", "structlog", "typer")
"""What only the server needs."""
IMPORT_SECONDS = 0.150


def run(python: Path, code: str, *arguments: str) -> str:
    """Standard output of some code in an interpreter that does not see this tree."""
    done = subprocess.run(
        [str(python), "-I", "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The interpreter of a new environment where `pip install '.[client]'` was all that happened."""
    folder = tmp_path_factory.mktemp("client")
    venv.create(folder, with_pip=True)
    bin_ = folder / ("Scripts" if sys.platform == "win32" else "bin")
    done = subprocess.run(
        [
            *(str(bin_ / "python"), "-m", "pip", "install", "--quiet"),
            *("--disable-pip-version-check", "-c", str(REPOSITORY / "constraints.txt")),
            f"{REPOSITORY}[client]",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if any(word in done.stderr for word in OFFLINE):
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    yield bin_ / "python"


IMPORT = """
import sys, time
before = time.perf_counter()
import sipbridge.client
print(time.perf_counter() - before)
"""
LOADED = """
import sys
from sipbridge.client import *
PresenceClient("http://127.0.0.1:1", "app_bob", "x").close()
found = [name for name in sys.argv[1:] if name in sys.modules]
import importlib.util
print([name for name in sys.argv[1:] if importlib.util.find_spec(name)], found)
"""
PUBLISH = """
import sys
from sipbridge.client import Activity, PresenceClient
with PresenceClient(sys.argv[1], "app_alice", "secret-alice") as alice:
    alice.publish([Activity.MEETING])
    print(alice.get_my_watchers())
"""


def test_importing_the_sdk_takes_less_than_150_milliseconds(python: Path) -> None:
    assert min(float(run(python, IMPORT)) for _ in range(5)) < IMPORT_SECONDS


def test_it_neither_has_nor_loads_what_the_server_needs(python: Path) -> None:
    assert run(python, LOADED, *SERVER) == "[] []\n"


async def test_it_works_there(python: Path) -> None:
    async with site() as bridge:
        assert await asyncio.to_thread(run, python, PUBLISH, bridge.base) == "[]\n"


# --- README -------------------------------------------------------------------------------------------


def examples() -> list[str]:
    """README's blocks of Python."""
    return BLOCK.findall((REPOSITORY / "README.md").read_text("utf-8"))


def test_readme_is_strictly_typed(tmp_path: Path) -> None:
    assert len(examples()) >= 3
    for number, example in enumerate(examples()):
        (tmp_path / f"example_{number}.py").write_text(example, "utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file", ""),
            *("--cache-dir", str(tmp_path / "cache"), str(tmp_path)),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={"MYPYPATH": str(REPOSITORY), "PATH": ""},
    )
    assert done.returncode == 0, done.stdout


@contextlib.asynccontextmanager
async def script(code: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "-c", code),
        stdout=asyncio.subprocess.PIPE,
        cwd=REPOSITORY,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]
        await asyncio.sleep(0)


def example(base: str, word: str) -> str:
    """The one with this word in it, for a bridge that is somewhere else."""
    (found,) = [block for block in examples() if word in block]
    return found.replace("http://127.0.0.1:8080", base)


async def test_readme_examples_do_what_readme_says() -> None:
    apps = [{**application(name), "password": f"secret-{name[0]}"} for name in ("alice", "bob")]
    async with (
        site(applications=apps) as bridge,
        script(example(bridge.base, "async for news")) as bob,
    ):
        assert bob.stdout is not None
        asked = await asyncio.wait_for(bob.stdout.readline(), PATIENCE)
        assert asked == b"waiting for sip:alice@example.com\n"
        async with script(example(bridge.base, "get_open_subscriptions")) as alice:
            assert await asyncio.wait_for(alice.wait(), PATIENCE) == 0
        told = await asyncio.wait_for(bob.stdout.readline(), PATIENCE)
        assert told == b"sip:alice@example.com Meeting\n"
