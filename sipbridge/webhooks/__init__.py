"""Notifications as signed HTTP requests: what an application is told of arrives at a URL of its own.

`delivery.Webhooks` is one more reader of the notification log. `delivery.py` says when requests are made,
`client.py` how, `signing.py` what a receiver checks, `targets.py` where requests may go, `indications.py`
what came of them. Nothing is imported here: checking a secret of the configuration needs no HTTP client.
"""
