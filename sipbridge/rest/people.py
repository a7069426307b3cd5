"""The People API's words for presence: `GET /webex/v1/people`, `/people/{personId}`, `/people/me`.

A person is named by an id of `[[identities]]` (`webex:`), by an address, or by `me`. `status` and
`lastActivity` are looked up when asked; where the person does not share them with the caller they are left
out. Whom nobody knows is not found.
"""

import asyncio
from datetime import UTC, datetime
from urllib.parse import parse_qs, unquote

from sipbridge.errors import InvalidValue
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.observations import Standing
from sipbridge.gateway.watching import Watching
from sipbridge.identities import Identities
from sipbridge.rest.exchange import Reply, json_reply
from sipbridge.rest.faults import no_resource
from sipbridge.uri import Uri

MAX_PEOPLE = 100
"""People of one request; each may be asked about on the network."""


def iso(milliseconds: int) -> str:
    """UTC milliseconds as the other interfaces write them: `2015-10-18T14:26:16.028Z`."""
    at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


class PeopleRoutes:
    """The People API over `Watching`."""

    ROOT = "/webex/v1/people"

    def __init__(self, watching: Watching, identities: Identities) -> None:
        self.watching = watching
        self.identities = identities

    async def get(self, caller: Caller, path: str) -> Reply:
        """One person. Raises Refused (404)."""
        name = unquote(path[len(self.ROOT) + 1 :])
        uri = caller.identity if name == "me" else self.watching.contact_of(name)
        if uri is None:
            raise no_resource(f"{self.ROOT}/{name}")
        return json_reply(await self.person(caller, uri))

    async def several(self, caller: Caller, query: bytes) -> Reply:
        """People by `id` (several, with commas) or `email`. Raises InvalidValue."""
        asked = parse_qs(query.decode("latin-1"))
        names = [n for value in asked.get("id", ()) for n in value.split(",") if n]
        emails = asked.get("email", [])
        if bool(names) == bool(emails) or len(names) + len(emails) > MAX_PEOPLE:
            raise InvalidValue(f"either id or email, up to {MAX_PEOPLE} people", part="id")
        found = [(name, self.watching.contact_of(name)) for name in [*names, *emails]]
        people = [self.person(caller, uri) for _, uri in found if uri is not None]
        answer: dict[str, object] = {"items": await asyncio.gather(*people)}
        if lost := [name for name, uri in found if uri is None and name in names]:
            answer["notFoundIds"] = lost
        return json_reply(answer)

    async def person(self, caller: Caller, uri: Uri) -> dict[str, object]:
        key = self.identities.canonical(uri)
        names = self.identities.aliases(key)
        made: dict[str, object] = {
            "id": next((n.opaque for n in names if n.scheme == "webex"), key),
            "emails": [n.opaque for n in names if n.scheme == "mailto"] or [key.partition(":")[2]],
            "displayName": names[0].username or key.partition(":")[2],
            "type": "person",
        }
        seen, sight = await self.watching.look(caller, uri)
        if sight.standing is not Standing.REFUSED:
            made["status"] = seen.rest
            if seen.presence.last_active_time is not None:
                made["lastActivity"] = iso(seen.presence.last_active_time)
            if seen.stale:
                made["stale"] = True
        return made
