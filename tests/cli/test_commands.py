"""Each command: what goes in, what comes out, and the exit status."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Shell = Callable[..., Any]
OPTIONS = (
    b"OPTIONS sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n"
    b"Max-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\n"
    b"Call-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)
PIDF = b"""<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
 xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" entity="pres:alice@example.com">
 <tuple id="t1"><status><basic>open</basic></status></tuple>
 <dm:person id="p1"><rpid:activities><rpid:meal/></rpid:activities></dm:person>
</presence>
"""


# --- configuration


def test_a_good_configuration_is_met_with_silence(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "good.toml"
    path.write_text("[http]\nport = 0\n")
    told = shell("check-config", "-c", str(path))
    assert (told.status, told.out, told.err) == (0, "", "")


def test_every_fault_is_one_line_with_its_full_key(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("[http]\nprot = 1\n[sip.tls]\ncert = 'x'\n[limits]\nmax_count = 'many'\n")
    told = shell("check-config", "-c", str(path))
    assert (told.status, told.out) == (2, "")
    assert [line.split(": ")[0] for line in told.err.splitlines()] == [
        "http.prot",
        "limits.max_count",
        "sip.tls.key",
    ]


def test_a_missing_configuration_is_2(shell: Shell) -> None:
    told = shell("check-config", "-c", "/no/such.toml")
    assert (told.status, told.err) == (2, "/no/such.toml: No such file or directory\n")


def test_the_merged_configuration_is_printed_without_secrets(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "good.toml"
    path.write_text("[[applications]]\nid = 'a'\npassword = 's3cret'\nuri = 'sip:a@example.com'\n")
    told = shell("print-config", "-c", str(path), "--set", "http.port=0")
    assert told.status == 0
    printed = tomllib.loads(told.out)
    assert printed["http"]["port"] == 0
    assert printed["applications"][0]["password"] == "********"
    assert "s3cret" not in told.out + told.err


@pytest.mark.parametrize(
    ("pair", "fault"),
    [
        ("http.port", "--set http.port: KEY=VALUE is expected"),
        ("http.prot=1", "http.prot: unknown key; did you mean http.port?"),
        ("sip.listen=sctp:127.0.0.1:1", "sip.listen[0]: 'sctp:127.0.0.1:1' is not udp:HOST:PORT"),
    ],
)
def test_wrong_overrides_are_2(shell: Shell, pair: str, fault: str) -> None:
    told = shell("print-config", "--set", pair)
    assert (told.status, told.out) == (2, "")
    assert fault in told.err


# --- documents and messages


def test_decode_reads_standard_input(shell: Shell) -> None:
    for arguments in ([], ["-"]):
        told = shell("decode", *arguments, stdin=OPTIONS)
        assert told.status == 0
        read = json.loads(told.out)
        assert (read["kind"], read["method"], read["verdict"]) == ("request", "OPTIONS", "accept")


def test_decode_of_a_refused_message_is_1(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "message"
    path.write_bytes(OPTIONS.replace(b"CSeq: 1 OPTIONS", b"CSeq: 1 INVITE"))
    told = shell("decode", str(path))
    read = json.loads(told.out)
    assert (told.status, read["verdict"], read["status_hint"]) == (1, "reject", 400)


def test_inspect_tells_what_a_document_states(shell: Shell) -> None:
    told = shell("inspect", stdin=PIDF)
    assert told.status == 0
    assert json.loads(told.out)["entity"] == "pres:alice@example.com"
    told = shell("inspect", stdin=b"<html")
    assert told.status == 1
    assert list(json.loads(told.out)) == ["error"]


def test_validate_takes_many_files_and_fails_if_one_does(shell: Shell, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.xml", tmp_path / "bad.xml"
    good.write_bytes(PIDF)
    bad.write_bytes(PIDF.replace(b"open", b"ajar"))
    told = shell("validate", str(good), str(bad))
    verdicts = [json.loads(line) for line in told.out.splitlines()]
    assert told.status == 1
    assert [(v["file"], v["valid"]) for v in verdicts] == [(str(good), True), (str(bad), False)]
    assert shell("validate", str(good)).status == 0
    assert shell("validate", stdin=PIDF).status == 0


def test_map_goes_both_ways(shell: Shell, tmp_path: Path) -> None:
    told = shell("map", "--at", "2026-03-01T12:00:00Z", stdin=PIDF)
    assert told.status == 0
    attributes = json.loads(told.out)
    activity = {"unionElement": "Activity", "activity": "Meal"}
    assert activity in [attribute["typeAndValue"] for attribute in attributes]
    back = shell("map", "--to", "document", "--entity", "sip:a@b", stdin=told.out.encode())
    assert back.status == 0
    path = tmp_path / "back.xml"
    path.write_text(back.out)
    assert json.loads(shell("validate", str(path)).out)["valid"]
    for to, member in (("webex", "status"), ("bems", "availability")):
        assert member in json.loads(shell("map", "--to", to, stdin=PIDF).out)


@pytest.mark.parametrize(
    ("arguments", "stdin", "status"),
    [
        (["--to", "fax"], PIDF, 2),
        (["--at", "soon"], PIDF, 2),
        ([], b"<html", 1),
        (["--to", "document"], b"[{]", 1),
        (["--to", "document"], b'[{"typeAndValue": {"unionElement": "Mood"}}]', 1),
        (["-c", "/no/such.toml"], PIDF, 2),
    ],
)
def test_map_says_whose_fault_it_is(
    shell: Shell, arguments: list[str], stdin: bytes, status: int
) -> None:
    told = shell("map", *arguments, stdin=stdin)
    assert (told.status, told.out) == (status, "")
    assert len(told.err.splitlines()) == 1


def test_map_uses_the_tables_of_the_configuration(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "mapping.toml").write_text('[activity.folds]\nlunch = "Busy"\n')
    path = tmp_path / "sipbridge.toml"
    path.write_text("mapping.file = 'mapping.toml'\n")
    told = shell("map", "-c", str(path), stdin=PIDF.replace(b"rpid:meal", b"rpid:lunch"))
    values = [attribute["typeAndValue"] for attribute in json.loads(told.out)]
    assert {"unionElement": "Activity", "activity": "Busy"} in values


# --- SIP clients


@pytest.mark.parametrize("command", ["publish", "watch"])
@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["sip:a@b", "--transport", "sctp"], "--transport: one of udp, tcp, tls, ws, wss"),
        (["sip:a@b", "--insecure"], "--insecure: needs --transport tls or wss"),
        (["sip:a@b", "--transport", "ws", "--ca-file", "x"], "--ca-file: needs --transport tls"),
        (["sip:a@b", "--transport", "tls", "--ca-file", "/no"], "--ca-file: /no: No such file"),
        (
            ["sip:a@b", "--transport", "tls", "--ca-file", "x", "--insecure"],
            "--insecure: checks nothing",
        ),
        (["sip:a@b", "--server", "a b"], "--server: "),
        (["sip:a@b", "--from", "nobody"], "--from: "),
        (["sip:a@b", "--password-file", "/no/such"], "--password-file: /no/such: No such file"),
        (["nobody"], "URI: "),
    ],
)
def test_client_options_are_checked_first(
    shell: Shell, command: str, arguments: list[str], fault: str
) -> None:
    told = shell(command, *arguments)
    assert (told.status, told.out) == (2, "")
    assert told.err.startswith(fault)


def test_a_document_and_words_exclude_each_other(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "pidf.xml"
    path.write_bytes(PIDF)
    told = shell("publish", "sip:a@b", "--file", str(path), "--note", "x")
    assert (told.status, told.err) == (2, "sipbridge: --file and --note exclude each other\n")


# --- for programs


def test_every_answer_can_be_had_as_json(shell: Shell, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text("[http]\nport = 0\n")
    bad.write_text("[http]\nprot = 1\nport = 'x'\n")
    told = shell("check-config", "--json", "-c", str(good))
    assert (told.status, json.loads(told.out)) == (0, {"valid": True, "faults": []})
    told = shell("check-config", "--json", "-c", str(bad))
    assert (told.status, told.err) == (2, "")
    faults = json.loads(told.out)["faults"]
    assert {fault["key"] for fault in faults} == {"http.prot", "http.port"}
    assert all(fault["expected"] for fault in faults)
    told = shell("print-config", "--json", "-c", str(good))
    assert json.loads(told.out)["http"]["port"] == 0
    told = shell("hash-password", "--json", "--ha1", "a", "b", stdin=b"secret\n")
    assert [h.split(":")[2] for h in json.loads(told.out)["hashes"]][1:] == [
        "SHA-256",
        "SHA-512-256",
    ]
