"""What each package offers to others is a list, and the list is kept beside this test.

After a change on purpose: `python tests/test_public_names.py > tests/public_names.txt`.
"""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import sipbridge

HERE = Path(__file__).resolve().parent
AGREED = HERE / "public_names.txt"
LAZY = ("sipbridge", "sipbridge.mapping", "sipbridge.bayeux", "sipbridge.client")
HEAVY = ("lxml", "orjson", "msgspec", "pydantic", "fastapi", "starlette", "httpx2", "structlog")


def packages() -> list[str]:
    found = pkgutil.walk_packages(sipbridge.__path__, "sipbridge.")
    return ["sipbridge", *sorted(module.name for module in found if module.ispkg)]


def offered() -> list[str]:
    """`package.name` for everything in an `__all__`."""
    return [
        f"{package}.{name}"
        for package in packages()
        for name in sorted(getattr(importlib.import_module(package), "__all__", []))
    ]


def python(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that finds this source tree and, with -S, nothing but the standard library."""
    start = f"import sys; sys.path.insert(0, {str(HERE.parent)!r})\n"
    return subprocess.run(
        [sys.executable, *options, "-c", start + code], capture_output=True, text=True, check=False
    )


def test_the_public_names_are_the_agreed_ones() -> None:
    assert offered() == AGREED.read_text("utf-8").split()


def test_every_public_name_is_there() -> None:
    for package in packages():
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", []):
            assert getattr(module, name) is not None


def test_no_name_is_offered_twice_by_one_package() -> None:
    for package in packages():
        names = getattr(importlib.import_module(package), "__all__", [])
        assert len(names) == len(set(names)), package


def test_packages_for_clients_load_nothing_before_it_is_asked_for() -> None:
    imports = "\n".join(f"import {package}" for package in LAZY)
    told = python(f"{imports}\nprint([name for name in {HEAVY!r} if name in sys.modules])")
    assert (told.stdout, told.stderr) == ("[]\n", "")


def test_they_need_nothing_but_the_standard_library() -> None:
    told = python("\n".join(f"import {package}" for package in LAZY), "-S")
    assert (told.returncode, told.stderr) == (0, "")


def test_the_command_without_its_extra_is_2_and_names_it() -> None:
    told = python("from sipbridge.cli import main; sys.exit(main(['serve']))", "-S")
    assert (told.returncode, told.stdout) == (2, "")
    (line,) = told.stderr.splitlines()
    assert "sipbridge[server]" in line


def test_an_unknown_name_is_an_attribute_error() -> None:
    for package in LAZY:
        assert not hasattr(importlib.import_module(package), "no_such_name")


if __name__ == "__main__":
    sys.stdout.write("\n".join([*offered(), ""]))
