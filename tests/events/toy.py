"""A toy event package served here: its authority owns one word for each resource."""

from sipbridge.errors import DocumentError
from sipbridge.events.compositor import Change, Publication
from sipbridge.events.conditional import entity_tag
from sipbridge.events.notifier import Admission, Content, Input, Subscription
from sipbridge.events.package import EventPackage
from sipbridge.sip.usage import ServerRequest
from sipbridge.sip.user_agent import UserAgent


class ToyAuthority:
    """Tells `word`; admits as `admission_*` say; remembers what it was told."""

    def __init__(self, ua: UserAgent) -> None:
        self.ua = ua
        self.word = b"hello"
        self.status = 200
        self.pending = False
        self.storing = False
        self.tagging = False
        """Do its NOTIFYs have entity-tags?"""
        self.steps: list[tuple[str, Input]] = []
        self.changes: list[tuple[str, Change]] = []
        self.kept: list[tuple[str, Change]] = []
        self.reads = 0
        self.subscriptions: list[Subscription] = []

    def admit(self, incoming: ServerRequest) -> Admission:
        request = incoming.request
        headers = (("X-Why", "because"),) if self.status >= 300 else ()
        return Admission(
            request.to.uri,
            request.from_.uri,
            self.status,
            headers=headers,
            pending=self.pending,
        )

    def admit_subscriber(
        self,
        incoming: ServerRequest,
        package: EventPackage,
        subscription: Subscription | None,
        now: float,
    ) -> Admission:
        return self.admit(incoming)

    def content(self, subscription: Subscription, now: float) -> Content | None:
        if subscription.state == "pending":
            return None
        return Content("application/x-toy", self.word, etag=self.entity_tag(subscription, now))

    def take_back(self, subscription: Subscription) -> None:
        """What it says is the same each time."""

    def entity_tag(self, subscription: Subscription, now: float) -> str:
        if subscription.state == "pending" or not self.tagging:
            return ""
        return entity_tag("application/x-toy", self.word)

    def keep_subscription(
        self, subscription: Subscription, happened: Input, now: float
    ) -> int | None:
        self.steps.append((subscription.state.value, happened))
        if subscription not in self.subscriptions:
            self.subscriptions.append(subscription)
        return self.ua.store(subscription.snapshot(now)) if self.storing else None

    def admit_publisher(self, incoming: ServerRequest, now: float) -> Admission:
        return self.admit(incoming)

    def read_document(self, package: EventPackage, content_type: str, body: bytes) -> object:
        self.reads += 1
        if body.startswith(b"bad"):
            raise DocumentError('no "toy"\r\nin here', path="toy", line=1)
        return body.decode()

    def keep_publication(self, publication: Publication, change: Change, now: float) -> int | None:
        self.kept.append((publication.id, change))
        return self.ua.store((publication.id, change)) if self.storing else None

    def publication_changed(
        self, publication: Publication, change: Change, now: float, trace: str
    ) -> None:
        self.changes.append((publication.id, change))
