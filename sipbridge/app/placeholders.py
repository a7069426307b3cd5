"""Documents that a presence server makes up where it knows nothing.

Kamailio with `force_dummy_presence` shows whoever has published nothing as open and available. Such a
document is no news, whichever way it comes: by a subscription, by a fetch, or as that of a member of a list.
It takes nothing back that was known, and what may be old stays so.
"""

from sipbridge.presence.model import Presence
from sipbridge.sip.policy import PeerPolicy


def is_placeholder(document: Presence, policy: PeerPolicy) -> bool:
    """Has the server made all of this up (`PeerPolicy.placeholders`), because it knows nothing?"""
    ids = policy.placeholders
    return bool(ids and document.tuples) and all(t.id in ids for t in document.tuples)
