"""`sipbridge map`: a document in, JSON out, or attributes in, a document out.

Pure functions; reading files, the clock and printing are the command's. The presentity is `--entity`, else
what the document names; a list of attributes names none, so `--to document` needs it or uses the default.
"""

import json
from datetime import UTC, datetime

from sipbridge.errors import ConfigurationError, InvalidValue
from sipbridge.mapping import bems, webex
from sipbridge.mapping.attributes import list_from_json, list_to_json
from sipbridge.mapping.ocsg import to_attributes, to_document
from sipbridge.mapping.table import DEFAULT, Tables
from sipbridge.presence import pidf

TARGETS = ("attributes", "webex", "bems", "document")
DEFAULT_ENTITY = "sip:presentity@localhost.invalid"
"""The presentity of a published list when nobody says which."""


def map_document(
    body: bytes,
    to: str,
    at: datetime,
    entity: str | None = None,
    tables: Tables = DEFAULT,
    explain: list[dict[str, object]] | None = None,
) -> object:
    """Map a PIDF document as of `at`: a list of attributes, a Webex Presence object or a BEMS object.

    With `to` "document" the body is a JSON list of attributes (or an object with `presence` or `result`
    holding one), and the result is the PIDF text. Raises DocumentError, InvalidValue, ConfigurationError.
    """
    if to not in TARGETS:
        raise ConfigurationError("--to", f"one of {', '.join(TARGETS)}")
    if to == "document":
        return map_attributes(body, at, entity, tables, explain)
    document = pidf.parse(body)
    presentity = entity or document.entity or DEFAULT_ENTITY
    if to == "webex":
        return webex.derive(document, at=at, tables=tables)[0].to_json(presentity)
    if to == "bems":
        return bems.derive(document, at=at, tables=tables)[0].to_json()
    mapped = to_attributes(document, at=at, presentity=presentity, tables=tables, explain=explain)
    return list_to_json(mapped.attributes)


def map_attributes(
    body: bytes,
    at: datetime,
    entity: str | None = None,
    tables: Tables = DEFAULT,
    explain: list[dict[str, object]] | None = None,
) -> str:
    """Attributes as JSON to PIDF text. Raises InvalidValue."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"not JSON: {error}", part="presence") from None
    if isinstance(given, dict):
        given = next((given[k] for k in ("presence", "result") if k in given), given)
    attributes = list_from_json(given)
    document = to_document(
        attributes, presentity=entity or DEFAULT_ENTITY, at=at, tables=tables, explain=explain
    )
    return pidf.serialise(document).decode()


def read_time(text: str) -> datetime:
    """The value of `--at`: ISO 8601, UTC where no zone is given. Raises ConfigurationError."""
    try:
        at = datetime.fromisoformat(text.strip().upper())
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ConfigurationError("--at", "an ISO 8601 date and time") from None
