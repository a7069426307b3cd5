"""The only door to lxml: bytes in, a checked tree out; elements in, text out.

Documents come from strangers. Before libxml2 builds anything, the bytes are measured (length, elements,
attributes: counted by their signs, which is an upper bound and costs next to nothing), their encoding is
settled, and a document type declaration is looked for. XML allows one in the prolog only, so a body without
the letters `<!DOCTYPE` has none, and in the rare body that has them the prolog is walked over: byte order
mark, declaration, comments, processing instructions. What looks like a declaration inside a comment or a
CDATA section is only text. A declaration with an internal subset can define entities and default attributes:
refused, always. One without (XPIDF writers send an external identifier) is blanked out, never fetched, if
the caller asks for that. So no entity beyond XML's own five can exist, and libxml2 is told besides to load
nothing. Depth is limited by libxml2 itself to 256.

Encodings (RFC 7303 §3): a byte order mark counts most, then the media type's charset parameter, then the
XML declaration, then UTF-8. All but UTF-8 are decoded here, by an allow-list of codecs, so that scanner and
parser cannot see different texts.

Comments and processing instructions are dropped, unless the document is one that partial documents speak of:
there they divide texts and are counted (`parse_whole`).
"""

import ctypes
import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from typing import TypeAlias

from lxml import etree

from sipbridge.errors import DocumentError
from sipbridge.presence.model import Attributes
from sipbridge.presence.namespaces import PREFIXES, XML

Element: TypeAlias = etree._Element

MAX_BYTES = 256 * 1024
"""Ten times a document of 400 tuples; the largest presence body seen in the wild has 6 kB."""
MAX_TAGS = 16_000
"""Counted as `<`: the richest 400 tuples have 9,000, of 3,000 watchers 6,000. Read in 0.1 s."""
MAX_ATTRIBUTES = 16_000
"""Counted as `=`, in the whole document. libxml2 hashes names, so that many are read in 5 ms."""

MAX_NAMESPACES = 20
"""Different declarations of namespaces nobody knows in a document of any size; real ones have up to 15, known
ones among them."""
MAX_NAMESPACE_WORK = 200_000
"""Such declarations times tags of a document that has more: 300 elements may each declare their own. Repeated
ones are cheap, and when we print a document, each element that nobody knows brings its own along."""
DECLARATION = re.compile(
    rb"""xmlns(?::[^\s=]{1,100}+)?+\s{0,10}+=\s{0,10}+(?:"([^"]*)"|'([^']*)')"""
)
KNOWN = frozenset(uri.encode() for uri in PREFIXES)
SMALL = 4000
"""So few bytes cannot break one of these three limits."""
FEW_ATTRIBUTES = 24
"""Up to here lxml's way to list attributes is the faster one."""
EVERY_ATTRIBUTE = etree.XPath("@*")
MAX_COUNTED = 1000
"""Siblings counted to say where something stands; with a hundred deviations that stays below 10 ms."""

NAMES_KEPT = 4 * 1024 * 1024
"""Bytes of documents that one dictionary of names serves: three thousand ordinary NOTIFYs, or 10 MB of memory
if strangers fill them with names nobody ever used. A new dictionary takes 0.1 ms."""

THREAD_DICTIONARY = ctypes.pythonapi.PyThreadState_GetDict
THREAD_DICTIONARY.restype = ctypes.c_void_p  # a borrowed reference

DECLARED = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z][A-Za-z0-9._\-]*)["']""")
SKIPPED = re.compile(r"(?:\s+|<\?.*?\?>|<!--.*?-->)*", re.DOTALL)
LITERAL = r"""(?:"[^"]*"|'[^']*')"""
DOCTYPE = re.compile(
    rf"<!DOCTYPE\s+[^\s\[>\"']+(?:\s+(?:SYSTEM\s+{LITERAL}|PUBLIC\s+{LITERAL}(?:\s+{LITERAL})?))?\s*>"
)
CODECS = re.compile(
    r"(?:utf-?8|us-ascii|ascii|utf-?16(?:-?[lb]e)?|utf-?32(?:-?[lb]e)?|iso-?8859-\d{1,2}|latin-?1"
    r"|windows-?125\d|cp125\d|koi8-[ru]|shift_jis|euc-(?:jp|kr)|gb2312|gbk|gb18030|big5)",
    re.IGNORECASE,
)
USUAL = (
    b'<?xml version="1.0" encoding="UTF-8"?>',
    b'<?xml version="1.0" encoding="utf-8"?>',
    b"<?xml version='1.0' encoding='UTF-8'?>",
)
UTF8_NAMES = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
    (b"\xef\xbb\xbf", "utf-8"),
)
# XML 1.0 appendix F.1: how "<?" or "<x" looks without a byte order mark
PATTERNS = (
    (b"<\x00\x00\x00", "utf-32-le"),
    (b"\x00\x00\x00<", "utf-32-be"),
    (b"<\x00", "utf-16-le"),
    (b"\x00<", "utf-16-be"),
)


def parse(body: bytes, charset: str | None = None, *, skip_doctype: bool = False) -> Element:
    """Read one document, give its root element.

    charset: parameter of the media type, if any. skip_doctype: a document type declaration without internal
    subset is blanked out instead of refused. Raises DocumentError.
    """
    return parse_any(body, charset, skip_doctype=skip_doctype)[0]


def parse_any(
    body: bytes, charset: str | None = None, *, skip_doctype: bool = True
) -> tuple[Element, bool]:
    """Read one document, give its root element, and whether a document type declaration was skipped.

    Parameters are those of `parse`. Raises DocumentError.
    """
    body = checked(body, charset)
    skipped = False
    if b"<!DOCTYPE" in body:
        plain = without_doctype(body, skip_doctype)
        skipped, body = plain is not body, plain
    return built(body, PARSER), skipped


def parse_whole(body: bytes, charset: str | None = None) -> Element:
    """Read one document with its comments and processing instructions, give its root element.

    Raises DocumentError, also for any document type declaration.
    """
    body = checked(body, charset)
    if b"<!DOCTYPE" in body:
        without_doctype(body, skip=False)
    return built(body, WHOLE_PARSER)


def checked(body: bytes, charset: str | None) -> bytes:
    """The body in UTF-8, if it is within the limits."""
    if len(body) > MAX_BYTES:
        raise DocumentError(f"document of {len(body)} bytes, the limit is {MAX_BYTES}")
    body = in_utf8(body, charset)
    if len(body) > SMALL:
        measure(body)
    return body


def built(body: bytes, parser: "Parser") -> Element:
    """The tree that libxml2 makes of it. Raises DocumentError."""
    try:
        return parser.parse(body)
    except etree.XMLSyntaxError as error:
        raise DocumentError(
            f"not well-formed: {wording(error)}", line=error.lineno or None
        ) from None
    except ValueError as error:  # lxml refuses some input before parsing
        raise DocumentError(f"not well-formed: {error}") from None


class Parser:
    """libxml2, told to load nothing, with a dictionary of names that is thrown away in time.

    libxml2 keeps each name of an element, attribute, prefix or namespace it has ever seen, and lxml lets all
    parsers of a thread share one such dictionary for ever, so documents full of new names would make the
    process grow by more than their own size. lxml hangs the dictionary into the thread's own dictionary,
    which Python hands out to C only. Taken from there it lives as long as trees made with it, no longer; the
    next new parser begins another.
    """

    def __init__(self, *, whole: bool = False) -> None:
        self.whole = whole
        """With comments and processing instructions."""
        self.parser = self.new_parser()
        self.bytes_read = 0

    def parse(self, body: bytes) -> Element:
        """The root element. Raises what lxml raises."""
        self.bytes_read += len(body)
        if self.bytes_read > NAMES_KEPT:
            self.forget_names()
        return etree.fromstring(body, self.parser)

    def forget_names(self) -> None:
        """Begin a new dictionary."""
        held: dict[str, object] = ctypes.cast(THREAD_DICTIONARY(), ctypes.py_object).value
        held.pop("_ParserDictionaryContext", None)
        self.parser = self.new_parser()
        self.bytes_read = 0

    def new_parser(self) -> etree.XMLParser:
        return etree.XMLParser(
            encoding="utf-8",
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            dtd_validation=False,
            attribute_defaults=False,
            huge_tree=False,
            remove_comments=not self.whole,
            remove_pis=not self.whole,
            collect_ids=False,
        )


PARSER = Parser()
WHOLE_PARSER = Parser(whole=True)


def measure(body: bytes) -> None:
    """Refuse a document by the number of its signs."""
    tags = body.count(b"<")
    if tags > MAX_TAGS:
        raise DocumentError(f"document of {tags} tags, the limit is {MAX_TAGS}")
    if body.count(b"=") > MAX_ATTRIBUTES:
        raise DocumentError(f"document of more than {MAX_ATTRIBUTES} attributes")
    declared = declarations(body) if body.count(b"xmlns") > MAX_NAMESPACES else 0
    if declared > MAX_NAMESPACES and declared * tags > MAX_NAMESPACE_WORK:
        raise DocumentError(f"document of {declared} namespace declarations")


def declarations(body: bytes) -> int:
    """Different namespace declarations, one for each namespace we know not counted."""
    found: dict[bytes, bytes] = {}
    unreadable = body.count(b"xmlns")
    for match in DECLARATION.finditer(body):
        found[match[0]] = match[1] or match[2]
        unreadable -= match[0].count(b"xmlns")
    return len(found) + unreadable - len(KNOWN.intersection(found.values()))


def wording(error: etree.XMLSyntaxError) -> str:
    """libxml2's complaint without its position."""
    return re.sub(r",? ?line \d+, column \d+.*$", "", error.msg or "unknown error") or "empty"


def in_utf8(body: bytes, charset: str | None = None) -> bytes:
    """The same document in UTF-8, without byte order mark (RFC 7303 §3.2, XML 1.0 appendix F)."""
    if not charset and body.startswith(USUAL):
        return body
    if not charset and body.startswith(b"<") and body[1:2] != b"\x00":
        declared = DECLARED.match(body)
        if declared is None or declared[1].lower() in (b"utf-8", b"utf8", b"us-ascii"):
            return body
    for mark, codec in MARKS:
        if body.startswith(mark):
            return recode(body[len(mark) :], codec)
    return recode(body, charset or guess(body))


def guess(body: bytes) -> str:
    """The codec of a body without byte order mark and without charset parameter."""
    for pattern, codec in PATTERNS:
        if body.startswith(pattern):
            return codec
    declared = DECLARED.match(body)
    return declared[1].decode("ascii") if declared else "utf-8"


def recode(body: bytes, codec: str) -> bytes:
    """Decode strictly by an allowed codec, encode as UTF-8."""
    codec = codec.strip().strip('"')
    if codec.lower() in UTF8_NAMES:
        return body
    if CODECS.fullmatch(codec) is None:
        raise DocumentError(f"encoding {codec[:40]!r} is not supported")
    try:
        return body.decode(codec).removeprefix("\ufeff").encode()
    except (UnicodeDecodeError, UnicodeEncodeError, LookupError):
        raise DocumentError(f"the bytes are not {codec}") from None


def without_doctype(body: bytes, skip: bool) -> bytes:
    """The body, its document type declaration blanked out. Refuses one with internal subset."""
    text = body.decode("utf-8", "replace")
    skipped = SKIPPED.match(text)
    start = skipped.end() if skipped else 0
    if not text.startswith("<!DOCTYPE", start):
        return body  # inside a comment, CDATA or out of place
    line = text.count("\n", 0, start) + 1
    whole = DOCTYPE.match(text, start)
    if whole is None:
        raise DocumentError("document type declaration with internal subset", line=line)
    if not skip:
        raise DocumentError("document type declaration", line=line)
    blank = re.sub(r"[^\n]", " ", whole[0])
    return (text[:start] + blank + text[whole.end() :]).encode()


@lru_cache(maxsize=1024)  # the same names again and again
def split(name: str) -> tuple[str, str]:
    """A Clark name's namespace ("" if none) and local part."""
    if name.startswith("{"):
        namespace, _, local = name[1:].partition("}")
        return namespace, local
    return "", name


def local(name: str) -> str:
    """A Clark name's local part."""
    return name.rpartition("}")[2]


def text_of(element: Element) -> str:
    """All character data inside, as written."""
    if len(element):
        return "".join(str(part) for part in element.itertext())
    return element.text or ""


def line_of(element: Element) -> int | None:
    """The line on which an element begins."""
    line: object = element.sourceline
    return line if isinstance(line, int) else None


def path_of(element: Element) -> tuple[str, int | None]:
    """Where an element stands, such as `presence/tuple[2]/status`, and its line."""
    steps = []
    at: Element | None = element
    while at is not None:
        tag = str(at.tag)
        before = sum(1 for _ in islice(at.itersiblings(tag, preceding=True), MAX_COUNTED))
        alone = before == 0 and next(at.itersiblings(tag), None) is None
        steps.append(local(tag) if alone else f"{local(tag)}[{before + 1}]")
        at = at.getparent()
    return "/".join(reversed(steps)), line_of(element)


def pairs_of(element: Element) -> list[tuple[str, str]]:
    """The attributes by Clark name, in document order. lxml's own `items` takes quadratic time."""
    keys = element.keys()
    if not keys:
        return []
    if len(keys) <= FEW_ATTRIBUTES:
        return element.items()  # type: ignore[return-value]  # the stubs allow bytes, lxml never gives them
    found: list[object] = list(EVERY_ATTRIBUTE(element))  # type: ignore[arg-type]  # attributes only
    return [(str(getattr(value, "attrname", "")), str(value)) for value in found]


def attributes_of(element: Element, *known: str) -> Attributes:
    """The attributes that are not known, by Clark name, in document order."""
    return tuple([pair for pair in pairs_of(element) if pair[0] not in known])


# ---- writing ---------------------------------------------------------------------------------------------

ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def escape(text: str) -> str:
    """Character data for a document. What XML cannot hold (control characters) is left out."""
    if not text.isprintable():
        text = ILLEGAL.sub("", text)
    if "&" in text:
        text = text.replace("&", "&amp;")
    if "<" in text:
        text = text.replace("<", "&lt;")
    if ">" in text:
        text = text.replace(">", "&gt;")
    if "\r" in text:
        text = text.replace("\r", "&#13;")
    return text


def quote(text: str) -> str:
    """An attribute value for double quotes."""
    text = escape(text)
    if '"' in text:
        text = text.replace('"', "&quot;")
    if not text.isprintable():
        text = text.replace("\n", "&#10;").replace("\t", "&#9;")
    return text


def attribute(name: str, value: str | None) -> str:
    """` name="value"`, or nothing."""
    return "" if value is None else f' {name}="{quote(value)}"'


def attributes(pairs: Iterable[tuple[str, str]]) -> str:
    """Attributes by Clark name; a foreign namespace is declared on the spot."""
    written = []
    prefixes: dict[str, str] = {}
    for name, value in pairs:
        namespace, plain = split(name)
        if not namespace:
            written.append(f' {plain}="{quote(value)}"')
        elif namespace == XML:
            written.append(f' xml:{plain}="{quote(value)}"')
        else:
            prefix = prefixes.get(namespace)
            if prefix is None:
                prefix = prefixes[namespace] = f"a{len(prefixes)}"
                written.append(declared(prefix, namespace))
            written.append(f' {prefix}:{plain}="{quote(value)}"')
    return "".join(written)


@lru_cache(maxsize=1024)
def declared(prefix: str, namespace: str) -> str:
    """A declaration of a foreign namespace."""
    return f' xmlns:{prefix}="{quote(namespace)}"'


@lru_cache(maxsize=1024)  # the same hundred names again and again
def empty(name: str) -> str:
    """`<prefix:name/>` for a Clark name; an unusual namespace is declared on the spot."""
    namespace, plain = split(name)
    prefix = PREFIXES.get(namespace)
    if prefix:
        return f"<{prefix}:{plain}/>"
    return f'<{plain} xmlns="{quote(namespace)}"/>'
