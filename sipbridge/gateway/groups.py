"""Groups: one address that stands for several presentities.

The groups known here are lists in the configuration. Whoever subscribes to a group subscribes to each of its
members, and a contract on it is one contract over all of them. A group in a group is refused: nobody could
say which members a watcher is told of.

What a presence server keeps as a list is not known here: it is asked through a port of its own.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from sipbridge.errors import AgainstPolicy, InvalidGroup
from sipbridge.identities import Identities, PresentityKey
from sipbridge.uri import Uri


@dataclass(frozen=True, slots=True)
class Group:
    """A list of presentities with an address of its own."""

    uri: Uri
    members: tuple[Uri, ...]


class Groups:
    """All groups, by the key of their address."""

    def __init__(self, identities: Identities, groups: Iterable[Group] = ()) -> None:
        self.identities = identities
        self.groups: Mapping[PresentityKey, Group] = {
            identities.canonical(group.uri): group for group in groups
        }

    def __contains__(self, key: object) -> bool:
        return key in self.groups

    def standing_for(self, watched: Collection[PresentityKey]) -> dict[PresentityKey, Uri]:
        """For each member of a group whose members are all watched: the group. The first group counts."""
        found: dict[PresentityKey, Uri] = {}
        for key, group in self.groups.items():
            members = self.keys(key)
            if all(member in watched for member in members):
                for member in members:
                    found.setdefault(member, group.uri)
        return found

    def keys(self, key: PresentityKey) -> tuple[PresentityKey, ...]:
        """The keys of whoever that address stands for, whatever is wrong with the group."""
        group = self.groups.get(key)
        if group is None:
            return (key,)
        return tuple(dict.fromkeys(map(self.identities.canonical, group.members)))

    def members(self, key: PresentityKey) -> dict[PresentityKey, Uri]:
        """The members of a group by their keys, in order; a person is the only member of themselves.

        Raises InvalidGroup, AgainstPolicy (rule "nested").
        """
        group = self.groups.get(key)
        if group is None:
            return {key: Uri.parse(key)}
        members = {self.identities.canonical(uri): uri for uri in group.members}
        if not members:
            raise InvalidGroup(str(group.uri))
        if nested := [str(members[m]) for m in members if m in self.groups]:
            raise AgainstPolicy(
                f"{group.uri} holds the group {nested[0]}", rule="nested", part="presentity"
            )
        return members
