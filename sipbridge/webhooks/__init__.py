"""Notifications as signed HTTP requests: what an application is told of arrives at a URL of its own.

`Webhooks` is one more reader of the notification log. `delivery.py` says when requests are made, `client.py`
how, `signing.py` what a receiver checks, `targets.py` where requests may go.
"""

from sipbridge.webhooks.client import Client
from sipbridge.webhooks.delivery import Current, Limits, Recheck, Webhooks
from sipbridge.webhooks.indications import Delivered, Dropped, Postponed
from sipbridge.webhooks.signing import read_secret, sign
from sipbridge.webhooks.targets import Target, is_webhook

__all__ = [
    "Client",
    "Current",
    "Delivered",
    "Dropped",
    "Limits",
    "Postponed",
    "Recheck",
    "Target",
    "Webhooks",
    "is_webhook",
    "read_secret",
    "sign",
]
