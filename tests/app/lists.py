"""Bodies of list notifications (RFC 4662 §5), written by hand."""

from sipbridge.events.presence_package import PIDF

KIND = 'multipart/related;type="application/rlmi+xml";start="<table@x>";boundary="50"'


def row(uri: str, state: str = "", cid: str = "", reason: str = "", name: str = "") -> str:
    """A member; without state nothing is known of it."""
    inner = f"<name>{name}</name>" if name else ""
    if state:
        attributes = f' cid="{cid}"' if cid else ""
        attributes += f' reason="{reason}"' if reason else ""
        inner += f'<instance id="i1" state="{state}"{attributes}/>'
    return f'<resource uri="{uri}">{inner}</resource>'


def told(version: int, full: bool, *rows: str, **documents: bytes) -> bytes:
    """The body of a NOTIFY: the table, and the documents by content id ("d" is "d@x")."""
    contents = (
        '<list xmlns="urn:ietf:params:xml:ns:rlmi" uri="sip:friends@example.com"'
        f' version="{version}" fullState="{str(full).lower()}">{"".join(rows)}</list>'
    )
    parts = [("table@x", "application/rlmi+xml", contents.encode())]
    parts += [(f"{cid}@x", PIDF, document) for cid, document in documents.items()]
    return (
        b"".join(
            f"--50\r\nContent-ID: <{cid}>\r\nContent-Type: {kind}\r\n\r\n".encode() + data + b"\r\n"
            for cid, kind, data in parts
        )
        + b"--50--\r\n"
    )
