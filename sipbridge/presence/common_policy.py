"""Rule sets as XML: common policy (RFC 4745 §6–9) with presence authorization (RFC 5025 §3).

What is not understood is kept and written back, and never widens a rule. A condition of another
specification, a constraint inside an identity, a second sphere or an unreadable period makes the rule apply
to nobody; an action or permission of another specification does nothing.

Our one extension is `provide-unknown-attributes` (plural, in our namespace, boolean): every element that no
permission has a word for, where RFC 5025 can only name them one by one.
"""

from collections.abc import Callable, Iterable

from sipbridge.errors import DocumentError
from sipbridge.presence.fragments import extension, standing_alone
from sipbridge.presence.markup import (
    Element,
    attribute,
    escape,
    path_of,
    split,
    text_of,
)
from sipbridge.presence.markup import (
    parse as parse_xml,
)
from sipbridge.presence.model import Extension
from sipbridge.presence.namespaces import COMMON_POLICY, PRES_RULES, SIPBRIDGE
from sipbridge.presence.rpid import understood
from sipbridge.presence.rules import (
    ANY,
    Conditions,
    Except,
    Many,
    Period,
    Provide,
    Rule,
    RuleSet,
    Selection,
    SubHandling,
    Transformations,
    UserInputDetail,
)

CP = f"{{{COMMON_POLICY}}}"
PR = f"{{{PRES_RULES}}}"
ANY_ELEMENT = f"{{{SIPBRIDGE}}}provide-unknown-attributes"

BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
KINDS = ("devices", "persons", "services")

CHOICES = {
    f"{PR}class": "classes",
    f"{PR}occurrence-id": "occurrences",
    f"{PR}deviceID": "uris",
    f"{PR}service-uri": "uris",
    f"{PR}service-uri-scheme": "schemes",
}
SWITCHES = {f"{PR}provide-{word}": word for word in Provide if word is not Provide.ALL_ATTRIBUTES}


# --- reading --------------------------------------------------------------------------------------------


def parse(body: bytes) -> RuleSet:
    """Read a rule set. Raises DocumentError: no rule set, a rule without id, a value out of its range."""
    root = parse_xml(body)
    if root.tag != f"{CP}ruleset":
        raise DocumentError(f"no rule set but {str(root.tag)[:120]}")
    rules = tuple(read_rule(e) for e in root if e.tag == f"{CP}rule")
    if len({r.id for r in rules}) != len(rules):
        raise DocumentError("two rules have the same id")
    return RuleSet(rules)


def refuse(message: str, element: Element) -> DocumentError:
    path, line = path_of(element)
    return DocumentError(message, path=path, line=line)


def read_rule(element: Element) -> Rule:
    id = str(element.get("id") or "").strip()
    if not id:
        raise refuse("a rule without id", element)
    conditions, actions, shown = (
        element.find(f"{CP}{name}") for name in ("conditions", "actions", "transformations")
    )
    handling, others = read_actions(actions if actions is not None else ())
    return Rule(
        id,
        read_conditions(conditions if conditions is not None else ()),
        handling,
        read_transformations(shown if shown is not None else ()),
        others,
    )


def read_conditions(elements: Iterable[Element]) -> Conditions:
    """Conditions must all hold, so a second one of a kind is no alternative: it is kept as unknown."""
    found: dict[str, Element] = {}
    unknown: list[Extension] = []
    for element in elements:
        name = str(element.tag).removeprefix(CP)
        usable = UNDERSTOOD.get(name)
        if usable is None or name in found or not usable(element):
            unknown.append(extension(element))
        else:
            found[name] = element
    identity = found.get("identity", ())
    return Conditions(
        tuple(str(e.get("id")).strip() for e in identity if e.tag == f"{CP}one"),
        tuple(read_many(e) for e in identity if e.tag == f"{CP}many"),
        str(found["sphere"].get("value")) if "sphere" in found else None,
        tuple(read_periods(found["validity"])) if "validity" in found else (),
        tuple(unknown),
    )


def is_understood_identity(identity: Element) -> bool:
    """At least one address or group, and nothing in them that we would have to pass over."""
    for member in identity:
        allowed = {f"{CP}one": (), f"{CP}many": (f"{CP}except",)}.get(str(member.tag))
        if allowed is None or any(child.tag not in allowed for child in member):
            return False
        if member.tag == f"{CP}one" and not member.get("id"):
            return False
    return len(identity) > 0


UNDERSTOOD: dict[str, Callable[[Element], bool]] = {
    "identity": is_understood_identity,
    "sphere": lambda e: e.get("value") is not None,
    "validity": lambda e: bool(read_periods(e)),
}


def read_many(element: Element) -> Many:
    return Many(
        attribute_of(element, "domain"),
        tuple(Except(attribute_of(e, "id"), attribute_of(e, "domain")) for e in element),
    )


def attribute_of(element: Element, name: str) -> str | None:
    value = element.get(name)
    return None if value is None else str(value).strip()


def read_periods(validity: Element) -> list[Period]:
    """The periods; none at all if one of them cannot be read."""
    times = [(str(e.tag), understood(text_of(e))[0].at) for e in validity]
    periods = []
    for (first, since), (second, until) in zip(times[::2], times[1::2], strict=False):
        if (first, second) != (f"{CP}from", f"{CP}until") or since is None or until is None:
            return []
        periods.append(Period(since, until))
    return periods if len(times) == 2 * len(periods) else []


def read_actions(elements: Iterable[Element]) -> tuple[SubHandling | None, tuple[Extension, ...]]:
    handling: SubHandling | None = None
    others: list[Extension] = []
    for element in elements:
        if element.tag != f"{PR}sub-handling":
            others.append(extension(element))
            continue
        word = text_of(element).strip()
        if word not in set(SubHandling):
            raise refuse(f"sub-handling {word[:40]!r}", element)
        handling = SubHandling(word)
    return handling, tuple(others)


def read_transformations(elements: Iterable[Element]) -> Transformations:
    selections = dict.fromkeys(KINDS, Selection())
    provide: set[Provide] = set()
    unknown: set[str] = set()
    user_input = UserInputDetail.NOTHING
    others: list[Extension] = []
    for element in elements:
        tag = str(element.tag)
        kind = tag.removeprefix(f"{PR}provide-")
        if kind in selections:
            selections[kind] |= read_selection(element, kind)
        elif tag in SWITCHES:
            provide |= {SWITCHES[tag]} if is_true(element) else set()
        elif tag == f"{PR}provide-all-attributes":
            provide.add(Provide.ALL_ATTRIBUTES)
        elif tag == f"{PR}provide-user-input":
            user_input = read_user_input(element)
        elif tag == f"{PR}provide-unknown-attribute":
            unknown |= {named(element)} if is_true(element) else set()
        elif tag == ANY_ELEMENT:
            unknown |= {ANY} if is_true(element) else set()
        else:
            others.append(extension(element))
    return Transformations(
        **selections,
        provide=frozenset(provide),
        user_input=user_input,
        unknown=frozenset(unknown),
        extensions=tuple(others),
    )


def is_true(element: Element) -> bool:
    word = text_of(element).strip()
    if word not in BOOLEANS:
        raise refuse(f"{word[:40]!r} is neither true nor false", element)
    return BOOLEANS[word]


def named(element: Element) -> str:
    """The Clark name that provide-unknown-attribute is about."""
    name, namespace = element.get("name"), element.get("ns")
    if not name or namespace is None:
        raise refuse("provide-unknown-attribute needs name and ns", element)
    return f"{{{namespace}}}{name}" if namespace else str(name)


def read_user_input(element: Element) -> UserInputDetail:
    word = text_of(element).strip()
    if word not in set(UserInputDetail):
        raise refuse(f"provide-user-input {word[:40]!r}", element)
    return UserInputDetail(word)


def read_selection(element: Element, kind: str) -> Selection:
    if element.find(f"{PR}all-{kind}") is not None:
        return Selection(all=True)
    found: dict[str, set[str]] = {
        "classes": set(),
        "occurrences": set(),
        "uris": set(),
        "schemes": set(),
    }
    others: list[Extension] = []
    for child in element:
        field = CHOICES.get(str(child.tag))
        if field is None:
            others.append(extension(child))
        else:
            text = text_of(child).strip()
            found[field].add(text.lower() if field == "schemes" else text)
    return Selection(
        classes=frozenset(found["classes"]),
        occurrences=frozenset(found["occurrences"]),
        uris=frozenset(found["uris"]),
        schemes=frozenset(found["schemes"]),
        extensions=tuple(others),
    )


# --- writing --------------------------------------------------------------------------------------------


def serialise(rules: RuleSet) -> bytes:
    """A valid document; the same rules always give the same bytes."""
    inside = "".join(print_rule(r) for r in rules.rules)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<ruleset xmlns="{COMMON_POLICY}" xmlns:pr="{PRES_RULES}" xmlns:x="{SIPBRIDGE}">{inside}</ruleset>'
    ).encode()


def print_rule(rule: Rule) -> str:
    handling = element("pr:sub-handling", rule.sub_handling) if rule.sub_handling else ""
    return (
        f"<rule{attribute('id', rule.id)}>"
        + wrapped("conditions", print_conditions(rule.conditions))
        + wrapped("actions", handling + foreign(rule.extensions))
        + wrapped("transformations", print_transformations(rule.transformations))
        + "</rule>"
    )


def wrapped(name: str, inside: str) -> str:
    return f"<{name}>{inside}</{name}>" if inside else ""


def element(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>"


def foreign(extensions: Iterable[Extension]) -> str:
    return "".join(standing_alone(e.xml) for e in extensions)


def print_conditions(conditions: Conditions) -> str:
    one = "".join(f"<one{attribute('id', i)}/>" for i in conditions.one)
    many = "".join(print_many(m) for m in conditions.many)
    sphere = (
        f"<sphere{attribute('value', conditions.sphere)}/>" if conditions.sphere is not None else ""
    )
    periods = "".join(
        element("from", p.since.isoformat()) + element("until", p.until.isoformat())
        for p in conditions.validity
    )
    return (
        wrapped("identity", one + many)
        + sphere
        + wrapped("validity", periods)
        + foreign(conditions.unknown)
    )


def print_many(many: Many) -> str:
    excepts = "".join(
        f"<except{attribute('id', e.id)}{attribute('domain', e.domain)}/>" for e in many.excepts
    )
    return f"<many{attribute('domain', many.domain)}>{excepts}</many>"


def print_transformations(shown: Transformations) -> str:
    parts = [
        print_selection("devices", "deviceID", shown.devices),
        print_selection("persons", "", shown.persons),
        print_selection("services", "service-uri", shown.services),
    ]
    for word in sorted(shown.provide):
        whole = word is Provide.ALL_ATTRIBUTES
        parts.append(f"<pr:provide-{word}/>" if whole else element(f"pr:provide-{word}", "true"))
    if shown.user_input is not UserInputDetail.NOTHING:
        parts.append(element("pr:provide-user-input", shown.user_input))
    parts += [print_unknown(name) for name in sorted(shown.unknown)]
    return "".join(parts) + foreign(shown.extensions)


def print_unknown(name: str) -> str:
    if name == ANY:
        return element("x:provide-unknown-attributes", "true")
    namespace, plain = split(name)
    about = attribute("ns", namespace) + attribute("name", plain)
    return f"<pr:provide-unknown-attribute{about}>true</pr:provide-unknown-attribute>"


def print_selection(kind: str, uri: str, chosen: Selection) -> str:
    if chosen.all:
        return wrapped(f"pr:provide-{kind}", f"<pr:all-{kind}/>")
    lists = (
        (uri, chosen.uris if uri else ()),
        ("service-uri-scheme", chosen.schemes if kind == "services" else ()),
        ("occurrence-id", chosen.occurrences),
        ("class", chosen.classes),
    )
    inside = "".join(element(f"pr:{name}", v) for name, values in lists for v in sorted(values))
    return wrapped(f"pr:provide-{kind}", inside + foreign(chosen.extensions))
