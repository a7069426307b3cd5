"""The door to lxml: encodings, document type declarations, limits, escaping."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipbridge.errors import DocumentError
from sipbridge.presence import markup, pidf
from sipbridge.presence.namespaces import XML

PIDF = 'xmlns="urn:ietf:params:xml:ns:pidf"'


def document(inside: str = "", head: str = "") -> bytes:
    return f"{head}<presence {PIDF}>{inside}</presence>".encode()


def text_of(body: bytes, charset: str | None = None) -> str:
    return markup.text_of(markup.parse(body, charset))


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_a_byte_order_mark_counts_over_everything(codec: str) -> None:
    body = document("Größe", '<?xml version="1.0" encoding="ISO-8859-1"?>').decode().encode(codec)
    if not body.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        body = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}[codec] + body
    assert text_of(body, "iso-8859-2") == "Größe"


def test_the_charset_parameter_counts_over_the_declaration() -> None:
    body = document("Größe", '<?xml version="1.0" encoding="UTF-8"?>').decode().encode("latin-1")
    assert text_of(body, '"ISO-8859-1"') == "Größe"
    with pytest.raises(DocumentError):
        markup.parse(body)


def test_a_declared_encoding_is_used() -> None:
    head = '<?xml version="1.0" encoding="windows-1251"?>'
    assert text_of(document("Привет", head).decode().encode("cp1251")) == "Привет"


def test_utf16_without_mark_is_recognised_by_its_pattern() -> None:
    assert text_of(document("é").decode().encode("utf-16-be")) == "é"


@pytest.mark.parametrize("name", ["UTF-7", "unicode_escape", "idna", "rot13", "IBM037", "x"])
def test_encodings_that_could_hide_a_declaration_are_refused(name: str) -> None:
    with pytest.raises(DocumentError, match="not supported"):
        markup.parse(document("", f'<?xml version="1.0" encoding="{name}"?>'))
    with pytest.raises(DocumentError, match="not supported"):
        markup.parse(document(), name)


@pytest.mark.parametrize(
    "prolog",
    [
        "<!DOCTYPE presence [<!ENTITY a 'b'>]>",
        "<?xml version='1.0'?>\n<!-- -- -->".replace("-- --", "x") + "<!DOCTYPE presence [ ]>",
        "<?p <!-- ?><!DOCTYPE presence SYSTEM 'a' [<!ATTLIST presence id CDATA 'x'>]>",
        "<!DOCTYPE presence",
        "<!DOCTYPE presence SYSTEM>",
    ],
)
def test_an_internal_subset_is_refused_even_where_a_declaration_may_be_skipped(prolog: str) -> None:
    for body in (document("", prolog), document("", prolog).decode().encode("utf-16")):
        with pytest.raises(DocumentError, match="document type|not well-formed"):
            markup.parse(body, skip_doctype=True)


def test_an_external_declaration_is_blanked_out_only_when_asked() -> None:
    body = document("\nx", '<!DOCTYPE presence PUBLIC "-//a//[b]" "http://127.0.0.1:9/x.dtd">')
    with pytest.raises(DocumentError):
        markup.parse(body)
    root, skipped = markup.parse_any(body)
    assert markup.text_of(root) == "\nx"
    assert skipped and not markup.parse_any(document())[1]


@pytest.mark.parametrize(
    "inside",
    ["<![CDATA[<!DOCTYPE x [<!ENTITY a 'b'>]>]]>", "<!-- <!DOCTYPE x [ -->", "<?p <!DOCTYPE x [?>"],
)
def test_what_only_looks_like_a_declaration_is_text(inside: str) -> None:
    markup.parse(document(inside))
    markup.parse(document("", inside) if not inside.startswith("<![") else document(inside))


def test_the_limits_hold() -> None:
    for body in (
        document("x" * markup.MAX_BYTES),
        document("<a/>" * markup.MAX_TAGS),
        document("<a " + " ".join(f'b{i}=""' for i in range(markup.MAX_ATTRIBUTES)) + "/>"),
        document("<d>" * 300 + "</d>" * 300),
        document("<a " + " ".join(f'xmlns:b{i}="u"' for i in range(2000)) + "/>" + "<c/>" * 2000),
    ):
        began = time.perf_counter()
        with pytest.raises(DocumentError):
            markup.parse(body)
        assert time.perf_counter() - began < 0.5  # generous: the machine is not ours alone


def test_many_attributes_are_listed_like_few() -> None:
    names = [f"b{i}" for i in range(500)]
    root = markup.parse(
        document("<a xmlns:v='u' " + " ".join(f'{n}="{n}"' for n in names) + ' v:x="&amp;"/>')
    )
    assert markup.pairs_of(root[0]) == [*[(n, n) for n in names], ("{u}x", "&")]


def test_a_complaint_names_line_and_fault() -> None:
    with pytest.raises(DocumentError) as caught:
        markup.parse(document("\n\n<a></b>"))
    assert caught.value.line == 3
    assert "mismatch" in caught.value.reason


def test_a_place_is_named_by_its_path() -> None:
    root = markup.parse(document("<a/><b/>\n<a><c/></a>"))
    assert markup.path_of(root[2][0]) == ("presence/a[2]/c", 2)


@given(st.text())
def test_any_text_survives_as_text_and_as_attribute(text: str) -> None:
    body = f'<a b="{markup.quote(text)}">{markup.escape(text)}</a>'.encode()
    root = markup.parse(body)
    kept = markup.ILLEGAL.sub("", text)
    assert markup.text_of(root) == kept
    assert root.get("b") == kept


def test_attributes_of_strangers_declare_their_namespace_once() -> None:
    written = markup.attributes(
        (("{u}a", "1"), ("plain", "2"), ("{u}b", "3"), (f"{{{XML}}}lang", "en"))
    )
    root = markup.parse(f"<x{written}/>".encode())
    assert written.count("xmlns:") == 1
    assert markup.attributes_of(root, "plain") == (
        ("{u}a", "1"),
        ("{u}b", "3"),
        (f"{{{XML}}}lang", "en"),
    )


NEW_NAMES = """
from pathlib import Path
from sipbridge.presence import markup

def read(first, last):
    for k in range(first, last):
        names = "".join(f"<n{k:x}x{i:x}/>" for i in range(8000))
        markup.parse(f"<p>{names}</p>".encode())
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

markup.NAMES_KEPT //= 10
print(read(0, 20), read(20, 80))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux for its memory")
def test_names_of_strangers_do_not_stay_for_ever() -> None:
    """Eight thousand new names in each of 60 documents, which libxml2 would keep in 14 MB."""
    done = subprocess.run(
        [sys.executable, "-c", NEW_NAMES], capture_output=True, text=True, check=True
    )
    before, after = map(int, done.stdout.split())
    assert after - before < 7_000_000


def test_trees_outlive_the_dictionary_of_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    first = markup.PARSER.parser
    monkeypatch.setattr(markup, "NAMES_KEPT", 0)
    kept = [markup.parse(document(f'<n{i} a{i}="{i}"><inner/></n{i}>')) for i in range(50)]
    assert markup.PARSER.parser is not first
    for i, root in enumerate(kept):
        assert markup.local(str(root[0].tag)) == f"n{i}" and root[0].items() == [(f"a{i}", f"{i}")]
    kept[0].append(kept[1][0])
    assert [markup.local(str(e.tag)) for e in kept[0].iter()][-2:] == ["n1", "inner"]


def test_a_document_of_many_unknown_elements_can_be_read_again_when_we_have_printed_it() -> None:
    known = '<status xmlns="urn:ietf:params:xml:ns:pidf"><basic>open</basic></status>'
    strange = '<v:x xmlns:v="http://xmlns.example.com/v"><v:y/></v:x>'
    for repeated in (known, strange):
        text = (
            '<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:a@example.com"><tuple id="t">'
            f"<status><basic>open</basic></status>{repeated * 400}</tuple></presence>"
        )
        printed = pidf.serialise(pidf.parse(text.encode()))
        assert pidf.serialise(pidf.parse(printed)) == printed


@pytest.mark.parametrize(
    ("signs", "counted"),
    [
        ("xmlns:" * 40_000, "40000 namespace declarations"),
        ('xmlns="' * 14_000, ""),
        ("xmlns='a\"" * 14_000, ""),
        ("xmlns" + " " * 200_000, ""),
    ],
)
def test_declarations_are_counted_in_the_blink_of_an_eye(signs: str, counted: str) -> None:
    body = b"<presence " + signs.encode() + b"<a/>" * 20
    began = time.thread_time()
    if counted:
        with pytest.raises(DocumentError, match=counted):
            markup.measure(body)
    else:
        markup.measure(body)
    assert time.thread_time() - began < 0.1
    began = time.thread_time()
    with pytest.raises(DocumentError):
        markup.parse(body)
    assert time.thread_time() - began < 0.1
