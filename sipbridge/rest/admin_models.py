"""The JSON of the operator routes.

These models read requests too: the routes are new and ours, so what they do not know is refused.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sipbridge.rest.ocsg_models import Address, Decision, OpenSubscription

Name = Annotated[str, Field(min_length=1, max_length=256)]
Secret = Annotated[str, Field(min_length=1, max_length=1024)]
Patterns = Annotated[
    list[Annotated[str, Field(max_length=4096)]],
    Field(
        max_length=100,
        description="Addresses it may name in `X-Presence-Identity`, such as sip:*@example.com",
    ),
]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(StrEnum):
    """Where an application comes from."""

    CONFIGURATION = "configuration"
    PROVISIONED = "provisioned"


class ApplicationView(Model):
    """An application, without its secrets."""

    id: Name
    uri: Address
    acts_for: Patterns
    sip_username: str
    sip_realm: str
    has_sip_password: bool
    webhooks: Annotated[bool, Field(description="It may be notified at URLs")]
    disabled: bool
    source: Annotated[
        Source, Field(description="Of those in the configuration only `disabled` can be changed")
    ]
    registration: Annotated[
        str,
        Field(
            description="At the network: `registered`, or why it is not; empty where the network wants none"
        ),
    ] = ""


class Applications(Model):
    result: list[ApplicationView]


class ApplicationChange(Model):
    """What is absent stays; `null` removes a SIP password, or webhooks."""

    uri: Address | None = None
    password: Annotated[
        Secret | None, Field(description="Kept as an argon2 hash; ends its sessions")
    ] = None
    password_hash: Annotated[
        str | None, Field(max_length=1024, description="From `sipbridge hash-password`")
    ] = None
    acts_for: Patterns | None = None
    sip_password: Annotated[
        Secret | None, Field(description="For digest towards a presence server; kept encrypted")
    ] = None
    sip_username: Annotated[str, Field(max_length=256)] | None = None
    sip_realm: Annotated[str, Field(max_length=256)] | None = None
    webhook_secret: Annotated[
        str | None,
        Field(
            max_length=128,
            description="Allows webhooks and signs them: whsec_ and 24 to 64 bytes in base64; kept encrypted",
        ),
    ] = None
    disabled: Annotated[bool | None, Field(description="It may not call; what it has goes on")] = (
        None
    )


class NewApplication(ApplicationChange):
    """Exactly one of `password` and `password_hash` is needed."""

    id: Annotated[
        str,
        Field(
            min_length=1,
            max_length=128,
            pattern=r"^[A-Za-z0-9\-_!~()$@]+$",
            description="Basic user name, and Bayeux prefix /bayeux/<id>",
        ),
    ]
    uri: Address


class PeerView(Model):
    """A presence server of somebody else, as this bridge sees it."""

    name: Annotated[str, Field(description="Its domain; `remote` for the default server")]
    state: Annotated[
        str, Field(description="`up`, `suspect` (it does not answer) or `recovering` (it is back)")
    ]
    seconds: Annotated[
        float | None, Field(ge=0, description="So long in this state; null: from the start")
    ]
    probed: Annotated[bool, Field(description="It is asked by OPTIONS whether it is there")]
    waiting: Annotated[
        int, Field(ge=0, description="Publications and subscriptions that wait to be refreshed")
    ]


class Peers(Model):
    result: list[PeerView]


class AdminDecisions(Model):
    decisions: Annotated[list[Decision], Field(min_length=1, max_length=64)]


class AdminWatchers(Model):
    """Who waits for a decision, and who sees something now."""

    open: list[OpenSubscription]
    watchers: list[Address]


MODELS: tuple[type[BaseModel], ...] = (
    PeerView,
    Peers,
    ApplicationView,
    Applications,
    ApplicationChange,
    NewApplication,
    AdminDecisions,
    AdminWatchers,
)
