"""Pages for people, made here and whole: no script, nothing from another server.

`places` is what `GET /` answers to whoever knows no more than where the bridge is; `front` is that as a page.
`index` is the page at `/rest/presence/index.html`, what is where, made of the table of operations.
`description` is `/docs`: the OpenAPI document as one page, every operation with its parameters, examples and
answers, and every schema. Whoever wants to try requests out opens `/openapi.json` in a tool of theirs.
"""

from collections.abc import Iterable, Mapping
from html import escape

import orjson

from sipbridge.rest.describing import Json
from sipbridge.rest.ocsg import EVENTS, NOTIFICATIONS, OPERATIONS, ROOT
from sipbridge.rest.openapi import TEXTS

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "td,th{text-align:left;padding:.3rem .8rem .3rem 0;vertical-align:top}"
    "pre{background:#8881;padding:.6rem;overflow:auto}h3 code{font-size:1em}"
    "code,pre{font-size:.9em}"
    "@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}a{color:#8bf}}"
)
PLACES = {
    "/docs": "what can be asked, with examples, for people",
    "/openapi.json": "the same for tools",
    "/health/ready": "is it ready, and what is not",
    f"{ROOT}/index.html": "RESTful Presence, an overview of its operations",
}
"""For everybody, by GET."""
FRONTS = (
    (NOTIFICATIONS, NOTIFICATIONS, "its notifications, for Bayeux clients"),
    (EVENTS, EVENTS, "its notifications, as server-sent events"),
    ("/webex", "/webex/people/presences/watch", "Webex-style watching"),
    ("/bems", "/bems/jsonrpc", "BEMS messaging, JSON-RPC by POST"),
    ("/presence", "/presence/subscriptions", "BEMS presence lookup"),
)
"""Mount, path and what it is; with the credentials of an application."""
METHODS = ("get", "put", "post", "patch", "delete")


def page(title: str, content: str) -> bytes:
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
        f"<h1>{escape(title)}</h1>{content}</html>"
    ).encode()


def places(mounts: Iterable[str]) -> dict[str, str]:
    """What is where: paths to what they are for. mounts: those of the fronts that are served."""
    served = frozenset(mounts)
    return PLACES | {path: text for root, path, text in FRONTS if root in served}


def front(listed: Mapping[str, str]) -> bytes:
    """`places` as a page, UTF-8."""
    shown = {path: f'<a href="{path}">{path}</a>' if path in PLACES else path for path in listed}
    rows = "".join(
        f"<tr><td><code>{shown[path]}</code></td><td>{escape(text)}</td></tr>"
        for path, text in listed.items()
    )
    return page("sipbridge", f"<table>{rows}</table>")


def index() -> bytes:
    """The page, UTF-8."""
    rows = "".join(
        f"<tr><td>{escape(operation.title)}</td><td><code>{operation.method} "
        f"{escape(ROOT + operation.path)}</code></td><td>{escape(TEXTS[name])}</td></tr>"
        for name, operation in OPERATIONS.items()
    )
    return page(
        "RESTful Presence",
        "<p>Every request carries HTTP Basic credentials; the user name is the application instance id. "
        f"Notifications arrive by Bayeux at <code>{NOTIFICATIONS}</code>. "
        'The whole description: <a href="/docs">/docs</a>, <a href="/openapi.json">/openapi.json</a>.</p>'
        f"<table><tr><th>Operation</th><th>Request</th><th></th></tr>{rows}</table>",
    )


# --- /docs --------------------------------------------------------------------------------------------


def description(whole: Json) -> bytes:
    """An OpenAPI document as a page, UTF-8."""
    listed = [
        (path, method, described)
        for path, methods in whole["paths"].items()
        for method, described in methods.items()
        if method in METHODS
    ]
    contents = "".join(
        f"<li>{link(anchor(path, method), described.get('summary', path))} "
        f"<code>{method.upper()} {escape(path)}</code>"
        for path, method, described in listed
    )
    operations = "".join(
        operation(path, method, described, whole["paths"][path].get("parameters", ()))
        for path, method, described in listed
    )
    schemas = "".join(
        f'<h3 id="{escape(name)}">{escape(name)}</h3>{shown(model)}'
        for name, model in whole["components"]["schemas"].items()
    )
    info = whole["info"]
    return page(
        f"{info['title']} {info['version']}",
        f"<p>{escape(info.get('description', ''))}. For tools: "
        f'<a href="/openapi.json">/openapi.json</a>.</p><ul>{contents}</ul>'
        f"<h2>Operations</h2>{operations}<h2>Schemas</h2>{schemas}",
    )


def anchor(path: str, method: str) -> str:
    return f"{method}-{path.strip('/').replace('/', '-')}"


def link(target: str, text: str) -> str:
    return f'<a href="#{escape(target)}">{escape(text)}</a>'


def operation(path: str, method: str, described: Json, shared: Iterable[Json]) -> str:
    needs = ", ".join(name for one in described.get("security", ()) for name in one) or "nothing"
    title, text = described.get("summary", ""), described.get("description", "")
    parts = [
        f'<h3 id="{escape(anchor(path, method))}"><code>{method.upper()} {escape(path)}</code></h3>',
        f"<p><b>{escape(title)}</b>. {escape(text)} Credentials: {escape(needs)}.</p>",
        parameters([*shared, *described.get("parameters", ())]),
    ]
    if "requestBody" in described:
        parts.append(f"<p>Request body</p>{bodies(described['requestBody'])}")
    for status, answer in described["responses"].items():
        parts.append(f"<p><b>{escape(status)}</b> {escape(answer.get('description', ''))}</p>")
        if status < "4":
            parts.append(bodies(answer))
    return "".join(parts)


def parameters(listed: Iterable[Json]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(p['name'])}</code></td><td>{escape(p['in'])}"
        f"{', required' if p.get('required') else ''}</td>"
        f"<td>{escape(p.get('description', ''))}</td></tr>"
        for p in listed
    )
    return f"<table>{rows}</table>" if rows else ""


def bodies(described: Json) -> str:
    """Media types with the schema's name and the examples."""
    parts = []
    for kind, content in described.get("content", {}).items():
        model = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        parts.append(f"<p><code>{escape(kind)}</code> {link(model, model) if model else ''}</p>")
        examples = [e["value"] for e in content.get("examples", {}).values()]
        if "example" in content:
            examples.append(content["example"])
        parts += [shown(example) for example in examples]
    return "".join(parts)


def shown(value: object) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_INDENT_2)
    return f"<pre>{escape(text if isinstance(text, str) else text.decode())}</pre>"
