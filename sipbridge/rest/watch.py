"""The Webex-style watch routes: start, stop, and the two streams of updates.

    POST /webex/people/presences/watch     {"contactIds": […]}       {"presenceHandles": […]}
    POST /webex/people/presences/stop      {"presenceHandles": […]}  204
    GET  /webex/people/presences/events    server-sent events
    WS   /webex/people/presences/stream    the same messages, one a frame

Below `/webex/v1/people` stands the People API (`people.py`), below `/webex/apheleia` the service of the
browser plugin (`apheleia.py`). All three only read, call `gateway/watching.py` and render.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from starlette.types import Receive, Scope, Send

from sipbridge.gateway.caller import Caller
from sipbridge.gateway.watching import HANDLES, Watching
from sipbridge.gateway.wishes import Feed, Seen, Wish
from sipbridge.rest.apheleia import Apheleia
from sipbridge.rest.exchange import Exchange, Reply, json_reply, read_json_body
from sipbridge.rest.faults import no_method, no_resource, unauthenticated
from sipbridge.rest.feeds import Feeds
from sipbridge.rest.people import PeopleRoutes
from sipbridge.rest.security import CHALLENGES, Authenticator
from sipbridge.rest.watch_models import StopRequest, WatchRequest, presence_json, read

ROOT = "/webex"
PRESENCES = f"{ROOT}/people/presences"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: who, what, and the parts that routes look at."""

    caller: Caller
    method: str
    path: str
    query: bytes
    body: bytes


Route = Callable[[Asked], Awaitable[Reply]]


async def streaming(asked: Asked) -> Reply:
    """Where a stream is; those who ask for it never come here."""
    raise no_resource(asked.path)


class WatchApp:
    """The ASGI application, to be mounted at `/webex`."""

    def __init__(
        self,
        watching: Watching,
        authenticate: Authenticator,
        exchange: Exchange,
        feeds: Feeds,
        people: PeopleRoutes,
        apheleia: Apheleia,
        observe: Callable[[str, int], None] = lambda name, status: None,
    ) -> None:
        self.watching = watching
        self.authenticate = authenticate
        self.exchange = exchange
        self.feeds = feeds
        self.people = people
        self.apheleia = apheleia
        self.observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        endless = scope["type"] == "websocket" or scope["method"] == "GET"
        tail = "stream" if scope["type"] == "websocket" else "events"
        if endless and path == f"{PRESENCES}/{tail}":
            open_one = self.feeds.socket if scope["type"] == "websocket" else self.feeds.events
            await open_one(scope, receive, send, self.handles, self.render)
        elif endless and path == self.apheleia.EVENTS:
            await self.apheleia.stream(self.feeds, scope, receive, send)
        else:
            await self.serve(scope, receive, send)

    def handles(self, caller: Caller) -> Feed:
        return self.watching.feed(caller, HANDLES)

    def render(self, wishes: list[Wish]) -> list[bytes]:
        """One message for each handle; equal presences are printed once."""
        printed: dict[tuple[int, str], tuple[Seen, bytes]] = {}
        messages = []
        for wish in wishes:
            seen = self.watching.seen(wish)
            key = (id(seen), wish.contact_id)
            if key not in printed:
                printed[key] = seen, presence_json(seen, wish.contact_id)
            messages.append(
                b'{"handle":%b,"presence":%b}' % (str(wish.name).encode(), printed[key][1])
            )
        return messages

    # --- plain requests ---

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = ""

        async def work(headers: Mapping[str, str], trace: str) -> Reply:
            nonlocal name
            known = await self.authenticate(headers)
            if known is None:
                raise unauthenticated(CHALLENGES)
            name, routes = self.find(scope["path"])
            route = routes.get(scope["method"])
            if route is None:
                raise no_method(scope["method"], ", ".join(routes))
            body = b""
            if scope["method"] == "POST":
                body = await read_json_body(headers, receive)
            caller = replace(known, trace=trace)
            raw: bytes = scope.get("raw_path") or scope["path"].encode()
            return await route(
                Asked(caller, scope["method"], raw.decode("latin-1"), scope["query_string"], body)
            )

        status = await self.exchange.serve(scope, send, work)
        self.observe(name, status)

    def find(self, path: str) -> tuple[str, Mapping[str, Route]]:
        """The routes of a path by method, and their name in metrics. Raises Refused (404)."""
        people, apheleia = self.people, self.apheleia
        if path == f"{PRESENCES}/watch":
            return "startWatchingPresences", {"POST": self.start}
        if path == f"{PRESENCES}/stop":
            return "stopWatchingPresences", {"POST": self.stop}
        if path == people.ROOT:
            return "listPeople", {"GET": lambda asked: people.several(asked.caller, asked.query)}
        if path.startswith(f"{people.ROOT}/"):
            return "getPerson", {"GET": lambda asked: people.get(asked.caller, asked.path)}
        if path == apheleia.COMPOSITIONS:
            return "compositions", {
                "GET": lambda asked: apheleia.one(asked.caller, asked.query),
                "POST": lambda asked: apheleia.several(asked.caller, asked.body),
            }
        if path == apheleia.SUBSCRIPTIONS:
            return "subscriptions", {
                "POST": lambda asked: apheleia.subscribe(asked.caller, asked.body)
            }
        if path == apheleia.EVENTS:
            routes: dict[str, Route] = {
                "GET": streaming,
                "POST": lambda asked: apheleia.set_status(asked.caller, asked.body),
            }
            return "setStatus", routes
        if path == f"{PRESENCES}/events":
            return "", {"GET": streaming}
        raise no_resource(path)

    async def start(self, asked: Asked) -> Reply:
        """One handle for each id, in the order of the request."""
        wanted = read(WatchRequest, asked.body)
        wishes = await self.watching.watch(asked.caller, wanted.contactIds)
        handles = [
            {"handle": w.name, "contactId": w.contact_id, "isValid": w.is_valid} for w in wishes
        ]
        return json_reply({"presenceHandles": handles})

    async def stop(self, asked: Asked) -> Reply:
        await self.watching.stop(asked.caller, read(StopRequest, asked.body).numbers)
        return Reply(204)
