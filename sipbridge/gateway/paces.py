"""How often the network has to tell of a pair (watcher, presentity), from all who want to hear of it.

One subscription in the network serves every application and every front. A notification contract hears of
changes no oftener than its frequency, so the network need not tell of more than the most impatient contract
can pass on; a front that shows a status as it is (BEMS, Webex style) wants everything, and so does whoever
only polls while nobody else is there. A poll of a pair whose news may be held back asks the network anew, but
not again within the shortest pace (`Watchers.lags`).
"""

from sipbridge.gateway.ports import PresenceNetwork
from sipbridge.gateway.registry import Pair, Registry

SHORTEST = 1.0
"""Seconds; a network is not asked to be slower than a contract that is nearly as fast as it, nor is it asked
by polls more often for what it holds back."""


class Paces:
    """Tells the network when the need of a pair has changed."""

    def __init__(self, registry: Registry, network: PresenceNetwork) -> None:
        self.registry = registry
        self.network = network
        self.told: dict[Pair, float] = {}
        """Seconds, of the pairs of which the network need not tell everything."""
        registry.changed = self.review

    def review(self, pair: Pair) -> None:
        """Somebody began or ended to be interested in this pair."""
        wanted = need(self.registry, pair)
        if wanted == self.told.get(pair, 0.0):
            return
        if wanted:
            self.told[pair] = wanted
        else:
            del self.told[pair]
        self.network.slow_down(*pair, wanted)


def need(registry: Registry, pair: Pair) -> float:
    """Least seconds between two pieces of news of this pair; 0: everything is wanted at once."""
    contracts = registry.contracts_of.get(pair)
    if not contracts:
        return 0.0
    if any(record.front for record in registry.subscriptions.get(pair, {}).values()):
        return 0.0
    shortest = min(contract.record.interval for contract in contracts.values())
    return shortest if shortest >= SHORTEST else 0.0
