"""The blocking client: every operation is one call of `operations.py`, a stream is `Follower` with a
connection. There is no thread and no event loop behind it.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Self

from sipbridge.client import operations
from sipbridge.client.events import EventStream
from sipbridge.client.http import TIMEOUT, Http, site
from sipbridge.client.operations import Address
from sipbridge.client.stream import read
from sipbridge.client.values import Notification, OpenSubscription, TimeMetric
from sipbridge.mapping.attributes import Attribute, AttributeKind, Value

if TYPE_CHECKING:
    import httpx2

    from sipbridge.client.listener import Listener
    from sipbridge.client.watching import People


class PresenceClient:
    """One application at a bridge. A context manager; else call `close`.

    base_url: such as "https://presence.example.com". application, password: as configured there; or a
    token instead of them (`Authorization: Bearer`). timeout: seconds for one request. headers: of every
    request, `X-Session-ID` for example. people: Webex-style watching. http: an `httpx2.Client` of the
    caller's own, which stays open.

    Operations raise Fault (refused), Unreachable (no answer), BadAnswer (an answer that makes no sense),
    all of them PresenceError, and InvalidValue for arguments that no request could carry. Threads may
    share a client.
    """

    def __init__(
        self,
        base_url: str,
        application: str = "",
        password: str = "",
        *,
        token: str = "",
        timeout: float = TIMEOUT,
        headers: Mapping[str, str] | None = None,
        http: "httpx2.Client | None" = None,
    ) -> None:
        where = site(base_url, application, password, token, headers or {})
        self.http = Http(where, http, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        if "people" in vars(self):
            self.people.close()
        self.http.close()

    @cached_property
    def people(self) -> "People":
        """Webex-style watching."""
        from sipbridge.client.watching import People

        return People(self.http)

    # --- the presentity's side

    def get_open_subscriptions(self) -> list[OpenSubscription]:
        """Watchers who wait for a decision about the presence of this application's identity."""
        return self.http.call(operations.get_open_subscriptions())

    def get_my_watchers(self) -> list[str]:
        """URIs of those who watch now, with at least one kind granted."""
        return self.http.call(operations.get_my_watchers())

    def update_subscription_authorization(
        self, watcher: Address, decisions: Mapping[AttributeKind, bool]
    ) -> None:
        """Grant (True) and deny (False) kinds to a watcher; kinds not named stay as they are.

        Raises ServiceFault (SVC0002) for a watcher that was never seen.
        """
        self.http.call(operations.update_subscription_authorization(watcher, decisions))

    def block_subscription(self, watcher: Address) -> None:
        """End a watcher's subscription; it is told, and refused when it comes again."""
        self.http.call(operations.block_subscription(watcher))

    def publish(
        self, attributes: Iterable[Attribute | Value], *, expires: timedelta | None = None
    ) -> None:
        """Publish; the kinds named are replaced, the others stay, an empty list removes everything.

        Bare values (`Activity.MEETING`) do where no note is wanted. expires: when all of it is taken back;
        zero is never, None what the operator has set.
        """
        self.http.call(operations.publish(attributes, expires))

    # --- the watcher's side

    def subscribe_presence(
        self,
        presentity: Address,
        *,
        correlator: str,
        attributes: Iterable[AttributeKind] = (),
        endpoint: str = "",
        application: str = "",
    ) -> None:
        """Ask to see a presentity; a `NotifySubscription` tells when it has decided.

        attributes: kinds, none for all. endpoint: a channel or URL for the answer, by default the channel
        of this application. application: what the presentity's side is shown, by default the application's
        id.
        """
        reference = operations.Reference(correlator, self.http.site.endpoint(endpoint))
        shown = application or self.http.site.application or "sipbridge.client"
        self.http.call(operations.subscribe_presence(presentity, reference, shown, attributes))

    def leave_subscription(self, presentity: Address) -> None:
        """Watch no more; notifications on this presentity end with it."""
        self.http.call(operations.leave_subscription(presentity))

    def start_presence_notification(
        self,
        presentity: Address,
        *,
        correlator: str,
        frequency: TimeMetric | timedelta = timedelta(seconds=1),
        check_immediate: bool = True,
        attributes: Iterable[AttributeKind] = (),
        duration: TimeMetric | timedelta | None = None,
        count: int | None = None,
        endpoint: str = "",
    ) -> list[str]:
        """Ask to be told of changes; returns the presentities that cannot be shown (not granted), if any.

        correlator: names this notification until it ends. frequency: the least time between two.
        check_immediate: tell the current state at once. duration, count: when it ends by itself.
        Raises ServiceFault (SVC0005) while the correlator is in use.
        """
        reference = operations.Reference(correlator, self.http.site.endpoint(endpoint))
        return self.http.call(
            operations.start_presence_notification(
                presentity,
                reference,
                frequency,
                check_immediate,
                attributes,
                duration,
                count,
            )
        )

    def end_presence_notification(self, correlator: str) -> None:
        """End a notification. Raises ServiceFault (SVC0002) for an unknown correlator."""
        self.http.call(operations.end_presence_notification(correlator))

    def get_user_presence(
        self, presentity: Address, attributes: Iterable[AttributeKind] = ()
    ) -> list[Attribute]:
        """What this application may see of a presentity now. attributes: kinds, none for all.

        Raises ServiceFault (SVC0002) without a subscription, PolicyFault (POL0002) without a grant.
        """
        return self.http.call(operations.get_user_presence(presentity, attributes))

    # --- notifications

    def notifications(self, *, last_event_id: str | None = None) -> EventStream[Notification]:
        """Everything this application is told, as an iterator that outlives connections and restarts.

        last_event_id: the `last_event_id` of an earlier stream, to get what came since; None begins now.
        """
        return EventStream(self.http, operations.EVENTS, read, last_event_id)

    def listen(self, *channels: str) -> "Listener":
        """Notifications on Bayeux channels; state, not history (`listener.py`).

        channels: by default the one of this application.
        """
        from sipbridge.client.listener import Listener

        wanted = channels or (self.http.site.endpoint(""),)
        return Listener(self.http, wanted)
