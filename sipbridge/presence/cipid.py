"""CIPID: contact information of a person or service (RFC 4482)."""

from sipbridge.presence.markup import attribute, escape
from sipbridge.presence.model import Cipid

FIELDS = ("card", "display-name", "homepage", "icon", "map", "sound")
"""Element names, in the order in which we write them."""


def print_cipid(value: Cipid) -> str:
    """The elements that have a value."""
    texts = (value.card, value.display_name, value.homepage, value.icon, value.map, value.sound)
    out = ""
    for tag, text in zip(FIELDS, texts, strict=True):
        if text is not None:
            lang = attribute("xml:lang", value.display_name_lang) if tag == "display-name" else ""
            out += f"<cipid:{tag}{lang}>{escape(text)}</cipid:{tag}>"
    return out
