"""HTTP in: the operations of RESTful Presence, health, metrics and their description."""

from sipbridge.rest.api import Front, Ready, RestSettings, create_app
from sipbridge.rest.faults import Envelope
from sipbridge.rest.ocsg import Operations, Style
from sipbridge.rest.security import Account, Authenticator, BasicAuthenticator
from sipbridge.rest.streams import EventStreams

__all__ = [
    "Account",
    "Authenticator",
    "BasicAuthenticator",
    "Envelope",
    "EventStreams",
    "Front",
    "Operations",
    "Ready",
    "RestSettings",
    "Style",
    "create_app",
]
