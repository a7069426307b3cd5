"""Groups watched by one subscription, where their presence server takes such (RFC 4662, RFC 5367).

The gateway asks for the members of a group one by one. A server's policy may say that its groups are lists:
one it keeps itself under the group's address ("uri"), or one that our SUBSCRIBE brings along ("body"). Then
the first member that a watcher asks for makes one subscription for all, and what arrives by it is handed to
the gateway as if each member had been subscribed to.

The gateway never notices which way was taken. A server that refuses such a subscription for good, or ends
it, gets one for each member, and is not asked for that group again while we run; so does a member that the
list does not have, or that its server cannot speak for, whether it is asked for before the list says so or
afterwards. What is known of a member that is asked for later is told at once. A list that speaks for nobody
who is wanted any more is left.

Whose addresses a body names is the business of the domain it goes to. Members of other domains, or at other
servers, are watched by themselves, unless the policy allows it (`groups_abroad`).
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Protocol

from msgspec.structs import replace

from sipbridge.errors import RequestRejected, SignallingError
from sipbridge.gateway.caller import Caller
from sipbridge.gateway.ports import ListUpdate, PresenceUpdate, WatchersUpdate
from sipbridge.identities import Identities, PresentityKey
from sipbridge.observability.logs import logger
from sipbridge.sip.policy import Groups, PeerPolicy
from sipbridge.uri import Uri

log = logger("sipbridge.app")

MAY_PASS = frozenset({401, 407, 408, 423, 429, 480, 491, 500, 502, 503, 504})
"""Refusals that say nothing about lists."""

REJECTED = "rejected"
"""The one reason of an end that each member's own subscription would be told too."""


class Told(Protocol):
    """Who is told what arrives: the gateway."""

    def presence_changed(self, update: PresenceUpdate) -> None: ...

    def presence_outdated(self, watcher: PresentityKey, presentity: PresentityKey) -> None: ...

    def watchers_changed(self, update: WatchersUpdate) -> None: ...

    def list_changed(self, update: ListUpdate) -> None: ...


class Watching(Protocol):
    """The network, as far as it is needed here."""

    async def watch(self, caller: Caller, presentity: Uri, *, resuming: bool = False) -> None: ...

    async def unwatch(self, caller: Caller, presentity: Uri) -> None: ...


@dataclass(frozen=True, slots=True)
class JointGroup:
    """A group that one subscription can stand for. members: those it stands for, by their keys."""

    uri: Uri
    members: Mapping[PresentityKey, Uri]
    by_body: bool


def joint_group(
    uri: Uri,
    members: Sequence[Uri],
    policy_of: Callable[[Uri], PeerPolicy],
    identities: Identities,
) -> JointGroup | None:
    """The group as its server's policy has it; None if its members are watched one by one."""
    policy = policy_of(uri)
    if policy.groups is Groups.EACH:
        return None

    def stands_for(member: Uri) -> bool:
        at = identities.address(member)
        near = at.host.lower() == uri.host.lower()
        return policy.groups_abroad or (near and policy_of(member) is policy)

    carried = {identities.canonical(m): m for m in members if stands_for(m)}
    return JointGroup(uri, carried, policy.groups is Groups.BODY) if len(carried) > 1 else None


@dataclass(slots=True)
class Joint:
    """One watcher's subscription to a group. wanted: members the gateway asked for; last: what is known.

    there: who is in the list, None before it has said so. ended: those of them for whom it does not speak.
    """

    caller: Caller
    wanted: dict[PresentityKey, Uri] = field(default_factory=dict)
    last: dict[PresentityKey, PresenceUpdate] = field(default_factory=dict)
    there: Set[PresentityKey] | None = None
    ended: set[PresentityKey] = field(default_factory=set)

    def lacks(self, key: PresentityKey) -> bool:
        """Is it known already that no news of this member will come?"""
        return key in self.ended or (self.there is not None and key not in self.there)


class GroupWatches:
    """All such subscriptions; stands between the network and the gateway."""

    def __init__(
        self,
        network: Watching,
        gateway: Told,
        groups: Mapping[PresentityKey, JointGroup],
        identities: Identities,
        spawn: Callable[[Coroutine[object, object, None]], None],
    ) -> None:
        self.network = network
        self.gateway = gateway
        self.groups = dict(groups)
        """By address; those that their server refused are taken out."""
        self.identities = identities
        self.spawn = spawn
        self.joints: dict[PresentityKey, dict[PresentityKey, Joint]] = {}
        """By watcher, then by group."""
        self.presence_outdated = gateway.presence_outdated
        self.watchers_changed = gateway.watchers_changed

    # --- asked by the network, before it subscribes to somebody ---

    async def watch(self, caller: Caller, presentity: Uri, group: Uri, *, resuming: bool) -> bool:
        """Watch a member by its group's subscription; False if it has to be watched by itself.

        Raises SignallingError.
        """
        address, key = self.identities.canonical(group), self.identities.canonical(presentity)
        found = self.groups.get(address)
        if found is None or key not in found.members:
            return False
        joint = self.joints.setdefault(caller.key, {}).setdefault(address, Joint(caller))
        if joint.lacks(key):
            return False
        joint.wanted[key] = presentity
        try:
            await self.network.watch(caller, found.uri, resuming=resuming)
        except SignallingError as error:
            joint.wanted.pop(key, None)
            if not joint.wanted:
                self.forget(joint, address)
            if not isinstance(error, RequestRejected) or error.status in MAY_PASS:
                raise
            self.groups.pop(address, None)
            return False
        if (known := joint.last.get(key)) is not None and key in joint.wanted:
            self.gateway.presence_changed(known)
        return True

    def joint(self, watcher: PresentityKey, group: PresentityKey | None) -> Joint | None:
        return self.joints.get(watcher, {}).get(group) if group else None

    def forget(self, joint: Joint, group: PresentityKey) -> None:
        """It is over; nothing happens if another has taken its place."""
        mine = self.joints.get(joint.caller.key, {})
        if mine.get(group) is joint:
            del mine[group]
        if not mine:
            self.joints.pop(joint.caller.key, None)

    def covers(self, caller: Caller, presentity: Uri) -> bool:
        """Is this member watched by a group's subscription already?"""
        if not (mine := self.joints.get(caller.key)):
            return False
        key = self.identities.canonical(presentity)
        return any(key in joint.wanted for joint in mine.values())

    async def unwatch(self, caller: Caller, presentity: Uri) -> None:
        """Nobody wants this member any more; nothing happens if it is not watched by a group."""
        key = self.identities.canonical(presentity)
        for group, joint in list(self.joints.get(caller.key, {}).items()):
            if joint.wanted.pop(key, None) is not None:
                await self.leave(joint, group)

    async def leave(self, joint: Joint, group: PresentityKey) -> None:
        """End the subscription to a group if nobody there is wanted by it."""
        if not joint.wanted and self.joint(joint.caller.key, group) is joint:
            self.forget(joint, group)
            await self.network.unwatch(joint.caller, Uri.parse(group))

    def brings(self, group: PresentityKey) -> tuple[str, ...]:
        """The addresses that a SUBSCRIBE to the group brings along; none for a list the server keeps."""
        found = self.groups.get(group)
        if found is None or not found.by_body:
            return ()
        return tuple(str(self.identities.address(m)) for m in found.members.values())

    # --- told by the network ---

    def presence_changed(self, update: PresenceUpdate) -> None:
        """News of somebody; those of a member by its group become the member's own."""
        joint = self.joint(update.watcher, update.group)
        if joint is None or update.group is None:
            self.gateway.presence_changed(update)
            return
        group, key = update.group, update.presentity
        update = replace(update, group=None)
        if update.state != "terminated":
            before = joint.last.get(key)
            if update.document is not None or before is None or before.state != update.state:
                joint.last[key] = update  # else it says less than what is known
            joint.ended.discard(key)
            if key in joint.wanted:
                self.gateway.presence_changed(update)
            return
        joint.last.pop(key, None)
        joint.ended.add(key)
        if (uri := joint.wanted.pop(key, None)) is None:
            return
        if update.reason == REJECTED:
            self.gateway.presence_changed(update)
        else:
            self.alone(joint, uri)
        self.spawn(self.leave(joint, group))

    def list_changed(self, update: ListUpdate) -> None:
        """Who is in a list, or that it is over."""
        joint = self.joint(update.watcher, update.group)
        if joint is None:
            if update.group not in self.groups:
                self.gateway.list_changed(update)
            return
        there: set[PresentityKey] = set()
        if update.state == "terminated":
            self.forget(joint, update.group)
            self.groups.pop(update.group, None)
        else:
            there = {self.identities.canonical(member.uri) for member in update.members}
            joint.last = {key: news for key, news in joint.last.items() if key in there}
            joint.ended &= there
        joint.there = there
        if absent := [key for key in joint.wanted if key not in there]:
            for key in absent:
                self.alone(joint, joint.wanted.pop(key))
            self.spawn(self.leave(joint, update.group))

    def alone(self, joint: Joint, member: Uri) -> None:
        """Watch a member by itself from now on."""
        self.spawn(self.by_itself(joint.caller, member))

    async def by_itself(self, caller: Caller, member: Uri) -> None:
        try:
            await self.network.watch(caller, member, resuming=True)
        except SignallingError as error:
            log.info("group.member.failed", member=str(member), error=str(error))
            key = self.identities.canonical(member)
            self.gateway.presence_changed(PresenceUpdate(caller.key, key, "terminated"))
