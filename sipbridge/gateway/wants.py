"""Which kinds of attributes the network has to tell of a pair (watcher, presentity), from all who asked.

One subscription in the network serves every application and every front, so it has to bring what any of them
asked for. A front that shows a status as it is asks for everything.
"""

from sipbridge.gateway.authorization import ALL_KINDS, kinds_of
from sipbridge.gateway.ports import PresenceNetwork
from sipbridge.gateway.registry import Pair, Registry
from sipbridge.mapping.attributes import AttributeKind


class Wants:
    """Tells the network when what is wanted of a pair has changed."""

    def __init__(self, registry: Registry, network: PresenceNetwork) -> None:
        self.registry = registry
        self.network = network
        self.told: dict[Pair, frozenset[AttributeKind]] = {}
        """Of the pairs of which not everything is wanted."""
        before = registry.changed

        def changed(pair: Pair) -> None:
            before(pair)
            self.review(pair)

        registry.changed = changed

    def review(self, pair: Pair) -> None:
        """Somebody began or ended to be interested in this pair."""
        wanted = need(self.registry, pair)
        if wanted is None:
            if self.told.pop(pair, None) is not None:
                self.network.narrow(*pair, None)
            return
        if wanted == self.told.get(pair, ALL_KINDS):
            return
        if wanted == ALL_KINDS:
            del self.told[pair]
        else:
            self.told[pair] = wanted
        self.network.narrow(*pair, wanted)


def need(registry: Registry, pair: Pair) -> frozenset[AttributeKind] | None:
    """The kinds that anybody asked for; None if nobody asked for anything."""
    records = registry.subscriptions.get(pair)
    if not records:
        return None
    if any(record.front or not record.attributes for record in records.values()):
        return ALL_KINDS
    return frozenset[AttributeKind]().union(*(kinds_of(r.attributes) for r in records.values()))
