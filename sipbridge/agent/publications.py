"""What one presentity's publications say, and how each watcher sees it.

Publications are composed into one document (`presence.composition`) when somebody looks. A *view* is what
watchers with the same permission see: the composed document filtered and printed once for each version, so
that a change costs one print for each distinct permission however many watchers there are.

What is shown when there is nothing to show:

- Nobody has published as long as anybody can remember: no body. There is no state, and RFC 6665 §4.2.1.2
  allows just that; deployed presence servers do the same.
- There were publications and all are gone: a document with one closed tuple. A watcher that was told "open"
  has to be told, and an empty body would be no news.
- Polite blocking: the same closed document at all times (RFC 5025 §3.2.1), so that a blocked watcher sees
  what every watcher sees of somebody who is away.
- What cannot be made into a document is reported (`NotShown`), and there is no body: that is so for whoever
  would have seen it, and for nobody else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sipbridge.errors import SipBridgeError
from sipbridge.events.conditional import entity_tag
from sipbridge.events.notifier import Content
from sipbridge.events.presence_package import PIDF
from sipbridge.identities import PresentityKey
from sipbridge.presence import pidf
from sipbridge.presence.composition import Published, compose
from sipbridge.presence.filtering import apply, unavailable
from sipbridge.presence.model import Presence
from sipbridge.presence.rules import Permission, SubHandling, Transformations


@dataclass(frozen=True, slots=True)
class NotShown:
    """What watchers with some permission may see of a presentity could not be made, or not be filtered."""

    presentity: PresentityKey
    reason: str


class View:
    """What watchers with one permission see. `version` is that of the state it was made from."""

    __slots__ = ("content", "permission", "version")

    def __init__(self, permission: Permission) -> None:
        self.permission = permission
        self.version = -1
        self.content: Content | None = None


class PublishedState:
    """The publications of one presentity. `version` grows with each change."""

    def __init__(self, key: PresentityKey, report: Callable[[NotShown], None]) -> None:
        self.key = key
        self.report = report
        self.version = 0
        self.known = False
        """Has anything been published as long as this object lives?"""
        self.publications: dict[str, Published] = {}
        self.composed: Presence | None = None
        self.views: dict[tuple[SubHandling, Transformations], View] = {}

    def put(self, id: str, document: Presence, received: datetime) -> None:
        """A publication is new or has a new document."""
        self.publications[id] = Published(document, received, id)
        self.changed()

    def drop(self, id: str) -> bool:
        """A publication is gone; False if it was unknown."""
        self.known = True
        if self.publications.pop(id, None) is None:
            return False
        self.changed()
        return True

    def changed(self) -> None:
        self.known = True
        self.version += 1
        self.composed = None

    def document(self) -> Presence:
        """All publications as one document."""
        if self.composed is None:
            self.composed = compose(list(self.publications.values()), self.key)
        return self.composed

    def view(self, permission: Permission) -> View:
        """The view that belongs to a permission, the same object for equal ones."""
        key = (permission.sub_handling, permission.transformations)
        if key not in self.views:
            self.views[key] = View(permission)
        return self.views[key]

    def content(self, view: View) -> Content | None:
        """Body of a NOTIFY for that view; None: no body."""
        if view.version != self.version:
            view.version = self.version
            try:
                view.content = self.rendered(view.permission)
            except SipBridgeError as error:
                view.content = None
                self.report(NotShown(self.key, str(error)))
        return view.content

    def rendered(self, permission: Permission) -> Content | None:
        if self.publications and permission.sub_handling is SubHandling.ALLOW:
            shown = apply(self.document(), permission)
        elif self.known or permission.sub_handling is SubHandling.POLITE_BLOCK:
            shown = unavailable(self.key)
        else:
            return None
        body = pidf.serialise(shown)
        return Content(PIDF, body, etag=entity_tag(PIDF, body))

    def sphere(self, at: datetime) -> str | None:
        """The presentity's own sphere at that instant, for the rules that ask for it (RFC 4745 §7.2)."""
        for person in self.document().persons if self.publications else ():
            for sphere in person.spheres:
                if sphere.valid_at(at):
                    if sphere.tokens:
                        return sphere.tokens[0].name.rpartition("}")[2]
                    if sphere.text:
                        return sphere.text.strip()
        return None
