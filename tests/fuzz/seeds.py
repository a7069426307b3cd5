"""What the fuzzer begins with: our torture set and documents, a larger corpus where there is one, and
words.
"""

import os
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
FOUND = Path(__file__).parent / "found"
"""Inputs that broke a promise once; each is a test."""
CORPUS = Path(os.environ.get("SIPBRIDGE_CORPUS", TESTS.parents[1] / "shared" / "corpus"))
PLACES = {
    "sip": (TESTS / "torture" / "messages", CORPUS / "sip"),
    "document": (TESTS / "documents", CORPUS / "pidf"),
}
SUFFIXES = {"sip": {".sip", ".dat", ".msg", ".txt"}, "document": {".xml"}}
MAX_SEED = 64 * 1024
WORD = re.compile(rb"[A-Za-z][A-Za-z0-9:._\-]{2,40}")
TRICKS = {
    "sip": [
        *(
            b"\r\n",
            b"\n",
            b"\r\n\r\n",
            b" ",
            b"\t",
            b";",
            b",",
            b"<",
            b">",
            b'"',
            b"\\",
            b"%00",
            b"=",
        ),
        *(
            b"\0",
            b"\xff",
            b"\xc3\xa9",
            b"4294967296",
            b"-1",
            b"sip:",
            b"sips:",
            b"tel:+1",
            b"[::1]",
        ),
        *(
            b"Content-Length: 0\r\n",
            b"l: 9999999\r\n",
            b"Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\n",
            b";lr",
            b";tag=",
        ),
        b"multipart/related;boundary=x",
    ],
    "document": [
        *(
            b"<",
            b">",
            b"/>",
            b"&amp;",
            b"&#0;",
            b"&#x10FFFF;",
            b"<![CDATA[",
            b"]]>",
            b"<!--",
            b"-->",
            b"<?x?>",
        ),
        *(
            b"<!DOCTYPE a>",
            b' xml:lang=""',
            b' id=""',
            b"xmlns:x='urn:x'",
            b"\0",
            b"\xff\xfe",
            b"\xef\xbb\xbf",
        ),
        *(
            b"2026-02-30T25:61:61Z",
            b"9999-12-31T23:59:59Z",
            b"1e400",
            b"-0",
            b"NaN",
            b" priority='2'",
        ),
    ],
}


def kind_of(target: str) -> str:
    """What its inputs are: targets can share theirs."""
    return "document" if target == "validation" else target


def seeds(target: str) -> list[bytes]:
    """Messages or documents, ours first."""
    files = [
        path
        for place in PLACES[kind_of(target)]
        if place.is_dir()
        for path in sorted(place.rglob("*"))
        if path.suffix in SUFFIXES[kind_of(target)]
    ]
    files += sorted(FOUND.glob(f"{kind_of(target)}-*"))
    return [body for path in files if 0 < len(body := path.read_bytes()) <= MAX_SEED]


def words(target: str, of: list[bytes]) -> list[bytes]:
    """Tricks, and what stands in the seeds."""
    return TRICKS[kind_of(target)] + sorted({word for seed in of for word in WORD.findall(seed)})
