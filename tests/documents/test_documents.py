"""Whole documents: ours, and where it is there a larger collection, each with what has to come out."""

import json
import os
import time
import tracemalloc
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings

from sipbridge.errors import DocumentError
from sipbridge.presence import pidf
from sipbridge.presence.inspection import Facts, inspect
from sipbridge.presence.model import Device, Person, Presence, Tuple
from sipbridge.presence.reading import read
from sipbridge.presence.schema import is_valid, validate
from tests.documents.strategies import DEVICES, DOCUMENTS, PERSONS, TUPLES

Entry: TypeAlias = dict[str, object]

HERE = Path(__file__).parent
OURS: dict[str, Entry] = json.loads((HERE / "expectations.json").read_text())
SHARED = Path(__file__).parents[2].parent / "shared" / "corpus"
CORPUS = Path(os.environ.get("SIPBRIDGE_CORPUS") or SHARED) / "pidf"
THEIRS: dict[str, Entry] = (
    {entry["file"]: entry for entry in json.loads((CORPUS / "index.json").read_text())["documents"]}
    if (CORPUS / "index.json").exists()
    else {}
)
with_corpus = pytest.mark.skipif(
    not THEIRS, reason="the document collection is not on this machine"
)

SECONDS = 0.05
BYTES = 16 * 1024 * 1024


def facts_of(body: bytes, media_type: str | None) -> tuple[Facts, list[str]]:
    """Facts and codes of the deviations, apart."""
    facts = inspect(body, media_type)
    deviations = facts.pop("deviations")
    assert isinstance(deviations, list)
    return facts, [str(each["code"]) for each in deviations if isinstance(each, dict)]


def in_bounds(body: bytes, media_type: str | None) -> None:
    """Refusing takes at most 50 ms (the best of three: the machine is not ours alone) and 16 MiB."""
    spent = []
    for _ in range(3):
        began = time.perf_counter()
        with pytest.raises(DocumentError):
            inspect(body, media_type)
        spent.append(time.perf_counter() - began)
    assert min(spent) < SECONDS
    tracemalloc.start()
    try:
        with pytest.raises(DocumentError):
            inspect(body, media_type)
        assert tracemalloc.get_traced_memory()[1] < BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", OURS)
def test_our_documents_come_out_as_listed(name: str) -> None:
    body, entry = (HERE / name).read_bytes(), OURS[name]
    media_type = str(entry["media_type"])
    if entry["expect"] == "reject":
        in_bounds(body, media_type)
        return
    facts, codes = facts_of(body, media_type)
    assert facts == entry["facts"]
    assert codes == entry["deviations"]


def test_every_document_of_ours_has_its_expectation() -> None:
    assert {str(path.relative_to(HERE)) for path in HERE.glob("*/*.xml")} == set(OURS)


@with_corpus
@pytest.mark.parametrize("typed", [True, False], ids=["typed", "untyped"])
@pytest.mark.parametrize("name", THEIRS)
def test_collected_documents_come_out_as_listed(name: str, typed: bool) -> None:
    body, entry = (CORPUS / name).read_bytes(), THEIRS[name]
    media_type = str(entry["media_type"]) if typed else None
    if entry["expect"] == "reject":
        in_bounds(body, media_type)
    elif entry["expect"] == "either":
        try:
            inspect(body, media_type)
        except DocumentError:
            in_bounds(body, media_type)
    else:
        assert facts_of(body, media_type)[0] == entry["facts"]


def presence_documents() -> list[tuple[str, bytes]]:
    """Every document, ours and collected, that reads as presence."""
    bodies = [(name, (HERE / name).read_bytes()) for name in OURS]
    bodies += [(name, (CORPUS / name).read_bytes()) for name in THEIRS]
    return [(name, body) for name, body in bodies if is_presence(body)]


def is_presence(body: bytes) -> bool:
    """Does it read as presence?"""
    try:
        return isinstance(read(body), Presence)
    except DocumentError:
        return False


every_presence_document = pytest.mark.parametrize(
    "body", [pytest.param(body, id=name) for name, body in presence_documents()]
)


@every_presence_document
def test_what_was_read_prints_and_reads_the_same_again(body: bytes) -> None:
    document = read(body)
    assert isinstance(document, Presence)
    again = pidf.parse(pidf.serialise(document))
    assert again == document
    assert pidf.serialise(again) == pidf.serialise(document)


@every_presence_document
def test_strict_printing_reads_without_deviation(body: bytes) -> None:
    document = read(body)
    assert isinstance(document, Presence)
    strict = pidf.parse(pidf.serialise(document, strict=True))
    left = {deviation.code for deviation in strict.deviations}
    assert left <= {"bad-entity", "must-understand", "draft-namespace", "unknown-element"}


# A type of the vendor's cannot be checked: its schema is not at hand.
OURS_AS_PRESENCE = [
    pytest.param((HERE / name).read_bytes(), id=name)
    for name in OURS
    if name != "good/extensions.xml" and is_presence((HERE / name).read_bytes())
]


@pytest.mark.parametrize("body", OURS_AS_PRESENCE)
def test_strict_printing_of_our_documents_is_valid(body: bytes) -> None:
    document = read(body)
    assert isinstance(document, Presence)
    verdict = validate(pidf.serialise(document, strict=True))
    assert verdict.valid, verdict


def with_examples(count: int) -> settings:
    """So many examples; building a document costs more than trying it."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=count, deadline=None, derandomize=True, suppress_health_check=slow)


@with_examples(60)
@given(TUPLES)
def test_any_tuple_prints_and_reads_the_same_again(service: Tuple) -> None:
    the_same_again(Presence("sip:q@quay.example", tuples=(service,)))


@with_examples(60)
@given(PERSONS)
def test_any_person_prints_and_reads_the_same_again(person: Person) -> None:
    the_same_again(Presence("sip:q@quay.example", persons=(person,)))


@with_examples(60)
@given(DEVICES)
def test_any_device_prints_and_reads_the_same_again(device: Device) -> None:
    the_same_again(Presence("sip:q@quay.example", devices=(device,)))


@with_examples(15)
@given(DOCUMENTS)
def test_any_document_prints_and_reads_the_same_again(document: Presence) -> None:
    the_same_again(document)


@with_examples(15)
@given(DOCUMENTS)
def test_any_document_printed_strictly_is_valid(document: Presence) -> None:
    assert is_valid(pidf.serialise(document, strict=True))


def the_same_again(document: Presence) -> None:
    """Printed and read it is equal, printed again it is the same text."""
    body = pidf.serialise(document)
    assert pidf.parse(body) == document
    assert pidf.serialise(pidf.parse(body)) == body
