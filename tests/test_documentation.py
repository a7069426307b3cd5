"""What README and `docs/` say is true: links, tables, walks, commands. The settings have their own test
(`tests/app/test_settings.py`)."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer.main

from sipbridge.app.lifecycle import Listening
from sipbridge.app.settings import load
from sipbridge.cli.commands import app
from sipbridge.rest.ocsg import OPERATIONS, ROOT
from sipbridge.uri import Uri
from tests.interop.runner import all_cases, names_of

CALLED = {"linphone": "liblinphone", "purple": "libpurple", "pjsua": "pjsua2", "sipjs": "SIP.js"}
"""What the cases call a program, and README."""
REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text("utf-8")
PAGES = (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")))
LINK = re.compile(r"\[[^\]\n]+\]\(([^)\s]+)\)")
TEST = re.compile(r"`(tests/[\w/.-]+\.py)(?:::(\w+))?`")
ROW = re.compile(r"^\|(.+)\|$", re.MULTILINE)


def rows(section: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    text = README.partition(f"# {section}\n")[2]
    table = text[text.index("\n|") : re.search(r"\|\n\n", text).end()]  # type: ignore[union-attr]
    found = [[cell.strip() for cell in row.split(" | ")] for row in ROW.findall(table)]
    return found[2:]


def anchors(page: Path) -> set[str]:
    """What headings can be linked to, in the way of usual hosts."""
    titles = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text("utf-8"))
    assert links
    for link in links:
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), link
        assert not anchor or anchor in anchors(there), link


def test_every_page_can_be_found_from_the_front_page() -> None:
    named = {link.partition("#")[0] for link in LINK.findall(README)}
    assert {f"docs/{page.name}" for page in PAGES[1:]} <= named


def test_tests_that_are_named_exist() -> None:
    named = [found for page in PAGES for found in TEST.findall(page.read_text("utf-8"))]
    assert named
    for path, function in named:
        text = (REPOSITORY / path).read_text("utf-8") if (REPOSITORY / path).exists() else ""
        assert "def test_" in text, path
        assert not function or f"def {function}(" in text, f"{path}::{function}"


@pytest.mark.parametrize(
    "section", ["What of the standards", "The awkward cases", "The operations"]
)
def test_every_row_names_its_tests(section: str) -> None:
    table = rows(section)
    assert len(table) > 8
    for row in table:
        assert TEST.search(row[-1]), row


def test_every_peer_of_the_interop_cases_is_named_with_them() -> None:
    met: dict[str, list[str]] = {}
    for case in all_cases():
        for name in names_of(case):
            met.setdefault(CALLED.get(name, name).lower(), []).append(case.name[:2])
    told = {row[0].lower(): row[3].split(", ") for row in rows("Seen working with")}
    assert told == met


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_folders_and_files_in_the_text_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    named = re.findall(r"`((?:configs|docker|docs|schemas|tests)/[\w./-]*)`", text)
    for path in named:
        assert (REPOSITORY / path).exists(), path


def test_every_operation_is_described_as_it_is() -> None:
    table = {row[0]: row[1].strip("`") for row in rows("The operations")}
    for operation in OPERATIONS.values():
        assert table[operation.title] == f"{operation.method} {ROOT}{operation.path}"


def test_every_command_is_described_and_no_other() -> None:
    there = set(typer.main.get_group(app).commands)
    text = " ".join(row[0] for row in rows("On the command line"))
    told = set(re.findall(r"`(?:sipbridge )?([a-z-]+)[ `]", text))
    assert told == there


def test_the_walks_are_those_of_the_tests() -> None:
    from tests.app import test_walk_notify, test_walk_publish

    for walk in (test_walk_notify.FILES, test_walk_publish.FILES):
        shown = r"\s+→\s+".join(re.escape(f"`{file}`") for file in walk)
        assert re.search(shown, README), walk
        for file in walk:
            assert (REPOSITORY / "sipbridge" / file).is_file()


def test_the_ready_line_is_shown_as_it_is() -> None:
    ports = ("udp:127.0.0.1:5060", "tcp:127.0.0.1:5060")
    import json

    assert json.dumps(Listening("http://127.0.0.1:8080", ports).as_json()) in README


def test_the_image_is_built_with_everything_that_the_package_takes_in() -> None:
    build = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]
    copied = re.findall(
        r"^COPY (.+) \S+$", (REPOSITORY / "docker/Dockerfile").read_text(), re.MULTILINE
    )
    there = " ".join(copied).split()
    assert set(build["build"]["targets"]["wheel"]["force-include"]) <= set(there)


def test_the_kamailio_of_the_compose_file_listens_where_the_bridge_looks_for_it() -> None:
    """At the very address: with 0.0.0.0 its Contact would lead whoever refreshes to himself."""
    image = (REPOSITORY / "docker/kamailio.Dockerfile").read_text("utf-8")
    listens = re.search(r"LISTEN_HOST=([\d.]+)", image)
    assert listens is not None
    hop = Uri.parse(load(REPOSITORY / "docker/sipbridge.toml").presence_server.next_hop[0])
    assert hop.host == listens[1]
    compose = (REPOSITORY / "docker/compose.yml").read_text("utf-8")
    assert f"ipv4_address: {listens[1]}" in compose.partition("\n  kamailio:")[2]
    tables = re.search(
        r'define DBPATH "text://(.+)"', (REPOSITORY / "configs/kamailio/presence.cfg").read_text()
    )
    assert tables is not None and f"/dbtext/kamailio/* {tables[1]}/" in image


def test_the_make_targets_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)\b", README)) - {"sure"}
    assert named and named <= targets


def test_shell_examples_are_options_we_have() -> None:
    """`sipbridge publish` as README shows it is understood, down to the connection."""
    shown = re.search(r"sipbridge (publish .+)$", README, re.MULTILINE)
    assert shown is not None
    import shlex

    words = shlex.split(shown[1])
    server = ["--server", "127.0.0.1:1", "--transport", "tcp"]
    told = subprocess.run(
        [sys.executable, "-m", "sipbridge", *words, *server],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )
    assert told.returncode == 1, told.stderr  # nobody is there; 2 would be wrong usage


def test_the_configuration_for_an_ims_network_is_sound(tmp_path: Path) -> None:
    page = (REPOSITORY / "docs/presence-servers.md").read_text("utf-8")
    text = page.partition("## In an IMS network\n")[2]
    example = text.partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "sipbridge.toml").write_text(example)
    for name in ("alice.password", "alice.sip"):
        (tmp_path / name).write_text("secret\n")
    settings = load(tmp_path / "sipbridge.toml", {}, environ={})
    assert settings.presence_server.register_
    assert settings.applications[0].sip_realm == "ims.example.com"
