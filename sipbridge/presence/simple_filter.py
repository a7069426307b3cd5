"""Event filters, application/simple-filter+xml (RFC 4661): which news a watcher wants, and what of them.

A filter set has filters by id. A filter says *what* is told (what is included; of that, what is excluded)
and which changes *trigger* a notification: one of its triggers, each of which may ask for several changes at
once. Without `what` everything is told, without triggers every change. A filter that comes again under its id
takes the place of the one before, `remove` takes it away, `enabled="false"` lets it sleep (RFC 4660 §5.3).

Reading is strict: what we do not understand could mean that less is wanted. It is refused (FilterError, 488),
and the watcher may ask without. What does not even look like a filter is a DocumentError (400).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from sipbridge.errors import DocumentError, FilterError
from sipbridge.presence import filter_paths, markup
from sipbridge.presence.filter_paths import Path
from sipbridge.presence.markup import Element, attribute, escape, split, text_of
from sipbridge.presence.namespaces import PIDF, SIMPLE_FILTER

ROOT = f"{{{SIMPLE_FILTER}}}filter-set"
PACKAGE = "presence"

MAX_FILTERS = 10
"""In a set; one for each kind of news that a watcher could care for."""
MAX_EXPRESSIONS = 40
"""In a set. Our own longest filter has 14."""
MAX_BINDINGS = 20
"""In a set: as many as the namespaces of the longest presence document."""
MAX_BYTES = 8192
"""Of all filters of a set, as they are kept and stored. Our own longest one has 1,100."""


@dataclass(frozen=True, slots=True)
class Content:
    """An include or exclude: elements and attributes by a path, or a whole namespace."""

    path: Path | None = None
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What must have happened: word "changed", "added" or "removed"; the rest narrows "changed" (§3.6.1)."""

    word: str
    path: Path
    before: str | None = None
    after: str | None = None
    by: float | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter. uri, domain: about whom, "" for the resource of the subscription. source: a filter set
    with this filter alone, as text, without what means nothing to it.
    """

    id: str
    include: tuple[Content, ...] = ()
    exclude: tuple[Content, ...] = ()
    triggers: tuple[tuple[Change, ...], ...] = ()
    uri: str = ""
    domain: str = ""
    enabled: bool = True
    remove: bool = False
    source: str = ""


Filters = tuple[Filter, ...]
"""A filter set, in the order of arrival."""


def merged(before: Filters, news: Filters) -> Filters:
    """The filters of a subscription after a SUBSCRIBE with a filter set. Raises FilterError."""
    kept = {each.id: each for each in before}
    for each in news:
        if each.remove:
            kept.pop(each.id, None)
        else:
            kept[each.id] = each
    after = tuple(kept.values())
    check_size(after)
    return after


def check_size(filters: Filters) -> None:
    if len(filters) > MAX_FILTERS or sum(map(expressions, filters)) > MAX_EXPRESSIONS:
        raise FilterError("too many filters")
    if sum(len(each.source.encode()) for each in filters) > MAX_BYTES:
        raise FilterError(f"filters of more than {MAX_BYTES} bytes")


def expressions(one: Filter) -> int:
    return len(one.include) + len(one.exclude) + sum(map(len, one.triggers))


# ---- reading ---------------------------------------------------------------------------------------------


def parse(body: bytes, charset: str | None = None) -> Filters:
    """Read a filter set. Raises DocumentError if it is none, FilterError for what we do not serve."""
    root = markup.parse(body, charset)
    if str(root.tag) != ROOT:
        raise DocumentError("no filter set", path=str(root.tag)[:80])
    package = str(root.get("package", "")).strip()
    if package not in ("", PACKAGE):
        raise FilterError(f"a filter for {package[:40]}")
    bindings: dict[str, str] = {}
    filters: list[Filter] = []
    for child in root:
        name = own_name(child)
        if name == "ns-bindings":
            bindings.update(bound(child))
            if len(bindings) > MAX_BINDINGS:
                raise FilterError(f"more than {MAX_BINDINGS} bindings")
        elif name == "filter":
            filters.append(read_filter(child, bindings))
    if len({each.id for each in filters}) != len(filters):
        raise DocumentError("two filters with one id")
    check_size(tuple(filters))
    return tuple(filters)


def own_name(element: Element) -> str:
    """The local name of an element of ours. Raises FilterError for any other."""
    namespace, name = split(str(element.tag))
    if namespace != SIMPLE_FILTER:
        raise FilterError(f"element {str(element.tag)[:80]}")
    return name


def bound(element: Element) -> Iterable[tuple[str, str]]:
    for child in element:
        prefix, urn = child.get("prefix"), child.get("urn")
        if own_name(child) != "ns-binding" or prefix is None or urn is None:
            raise DocumentError("a binding without prefix or urn", line=markup.line_of(child))
        yield str(prefix).strip(), str(urn).strip()


def read_filter(element: Element, bindings: dict[str, str]) -> Filter:
    id = str(element.get("id", "")).strip()
    if not id:
        raise DocumentError("a filter without id", line=markup.line_of(element))
    include: list[Content] = []
    exclude: list[Content] = []
    triggers: list[tuple[Change, ...]] = []
    for child in element:
        name = own_name(child)
        if name == "what":
            for each in child:
                into = {"include": include, "exclude": exclude}.get(own_name(each))
                if into is None:
                    raise FilterError(f"{own_name(each)[:40]} in what")
                into.append(read_content(each, bindings))
        elif name == "trigger":
            triggers.append(tuple(read_change(each, bindings) for each in child))
        else:
            raise FilterError(f"{name[:40]} in a filter")
    found = Filter(
        id,
        tuple(include),
        tuple(exclude),
        tuple(each for each in triggers if each),
        str(element.get("uri", "")).strip(),
        str(element.get("domain", "")).strip().lower(),
        flag(element, "enabled", default=True),
        flag(element, "remove", default=False),
    )
    return replace(found, source=printed(found, bindings).decode())


def read_content(element: Element, bindings: dict[str, str]) -> Content:
    kind, text = str(element.get("type", "xpath")), text_of(element).strip()
    if kind == "namespace" and text:
        return Content(namespace=text)
    if kind != "xpath":
        raise FilterError(f"content by {kind[:40]}")
    return Content(filter_paths.parse(text, bindings, PIDF))


def read_change(element: Element, bindings: dict[str, str]) -> Change:
    word = own_name(element)
    if word not in ("changed", "added", "removed"):
        raise FilterError(f"{word[:40]} in a trigger")
    path = filter_paths.parse(text_of(element), bindings, PIDF)
    before, after, by = (element.get(name) for name in ("from", "to", "by"))
    step = None if by is None else filter_paths.number(str(by))
    if (word != "changed" and (before, after, by) != (None, None, None)) or (
        by is not None and step is None
    ):
        raise FilterError(f"conditions of {word}")
    return Change(word, path, words(before), words(after), step)


def words(value: object) -> str | None:
    return None if value is None else str(value).strip().casefold()


def flag(element: Element, name: str, *, default: bool) -> bool:
    """An xs:boolean."""
    value = str(element.get(name, "")).strip()
    if value not in ("", "true", "false", "1", "0"):
        raise DocumentError(f"{name}={value[:20]!r}", line=markup.line_of(element))
    return default if not value else value in ("true", "1")


# ---- writing ---------------------------------------------------------------------------------------------


def printed(one: Filter, names: Mapping[str, str]) -> bytes:
    """A filter set with this filter alone. names: namespaces by prefix; only those it uses are written."""
    what = "".join(print_content("include", each) for each in one.include)
    what += "".join(print_content("exclude", each) for each in one.exclude)
    inside = f"<what>{what}</what>" if what else ""
    for trigger in one.triggers:
        inside += f"<trigger>{''.join(map(print_change, trigger))}</trigger>"
    head = attribute("id", one.id) + attribute("uri", one.uri or None)
    head += attribute("domain", one.domain or None)
    head += "" if one.enabled else ' enabled="false"'
    head += ' remove="true"' if one.remove else ""
    used = {prefix: urn for prefix, urn in names.items() if escape(f"{prefix}:") in inside}
    return document(bindings_of(used) + f"<filter{head}>{inside}</filter>")


def print_content(word: str, content: Content) -> str:
    if content.path is not None:
        return f"<{word}>{escape(content.path.text)}</{word}>"
    return f'<{word} type="namespace">{escape(content.namespace)}</{word}>'


def print_change(change: Change) -> str:
    by = None if change.by is None else str(change.by)
    head = attribute("from", change.before) + attribute("to", change.after) + attribute("by", by)
    return f"<{change.word}{head}>{escape(change.path.text)}</{change.word}>"


def including(
    id: str, include: Iterable[str], exclude: Iterable[str], names: Mapping[str, str]
) -> bytes:
    """A filter set with one filter that asks for these paths. names: namespaces by prefix."""
    what = "".join(f"<include>{escape(path)}</include>" for path in include)
    what += "".join(f"<exclude>{escape(path)}</exclude>" for path in exclude)
    return document(
        bindings_of(names) + f"<filter{attribute('id', id)}><what>{what}</what></filter>"
    )


def bindings_of(names: Mapping[str, str]) -> str:
    bindings = "".join(
        f"<ns-binding{attribute('prefix', prefix)}{attribute('urn', urn)}/>"
        for prefix, urn in names.items()
    )
    return f"<ns-bindings>{bindings}</ns-bindings>" if names else ""


def removing(id: str) -> bytes:
    """A filter set that takes a filter away."""
    return document(f'<filter{attribute("id", id)} remove="true"/>')


def document(inside: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<filter-set xmlns="{SIMPLE_FILTER}" package="{PACKAGE}">{inside}</filter-set>\n'
    ).encode()
