"""The page for people at `/rest/presence/index.html`: what is where, made of the table of operations."""

from html import escape

from sipbridge.rest.ocsg import NOTIFICATIONS, OPERATIONS, ROOT
from sipbridge.rest.openapi import TEXTS

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "td,th{text-align:left;padding:.3rem .8rem .3rem 0;vertical-align:top}"
    "code{font-size:.9em}@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}a{color:#8bf}}"
)


def index() -> bytes:
    """The page, UTF-8."""
    rows = "".join(
        f"<tr><td>{escape(operation.title)}</td><td><code>{operation.method} "
        f"{escape(ROOT + operation.path)}</code></td><td>{escape(TEXTS[name])}</td></tr>"
        for name, operation in OPERATIONS.items()
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>RESTful Presence</title><style>{STYLE}</style>"
        "<h1>RESTful Presence</h1>"
        "<p>Every request carries HTTP Basic credentials; the user name is the application instance id. "
        f"Notifications arrive by Bayeux at <code>{NOTIFICATIONS}</code>. "
        'The whole description: <a href="/docs">/docs</a>, <a href="/openapi.json">/openapi.json</a>.</p>'
        f"<table><tr><th>Operation</th><th>Request</th><th></th></tr>{rows}</table></html>"
    ).encode()
