"""Timed status."""

from sipbridge.presence import markup
from sipbridge.presence.deviations import Notebook
from sipbridge.presence.model import Basic, Note
from sipbridge.presence.timed_status import print_timed_status, read_timed_status

HEAD = 'xmlns:ts="urn:ietf:params:xml:ns:pidf:timed-status" xmlns:v="urn:vendor"'


def test_a_future_status_reads_and_prints() -> None:
    element = markup.parse(
        f'<ts:timed-status {HEAD} from="2031-05-01T00:00:00Z" until="never" v:a="1">'
        "<ts:basic>closed</ts:basic><ts:note>dock</ts:note><v:e></v:e></ts:timed-status>".encode()
    )
    notes = Notebook()
    value = read_timed_status(element, notes)
    assert (value.basic, value.notes, value.attributes) == (
        Basic.CLOSED,
        (Note("dock"),),
        (("{urn:vendor}a", "1"),),
    )
    assert value.since is not None and value.since.at is not None
    assert value.until is not None and value.until.at is None
    assert [each.code for each in notes.deviations] == ["bad-time"]
    printed = print_timed_status(value)
    again = read_timed_status(
        markup.parse(printed.replace("<ts:timed-status", f"<ts:timed-status {HEAD}", 1).encode()),
        Notebook(),
    )
    assert again == value


def test_an_unknown_basic_is_no_statement_and_not_lost() -> None:
    element = markup.parse(
        f"<ts:timed-status {HEAD}><ts:basic>maybe</ts:basic></ts:timed-status>".encode()
    )
    notes = Notebook()
    value = read_timed_status(element, notes)
    assert value.basic is None and "maybe" in value.extensions[0].xml
    assert [each.code for each in notes.deviations] == ["bad-basic"]
