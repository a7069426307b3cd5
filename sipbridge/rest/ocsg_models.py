"""The JSON of the RESTful Presence interface, as models for its description.

These classes give the schemas of the OpenAPI document, and tests hold examples and answers against them.
Requests are read by `ocsg_reading`, which is wider than a schema can say.
"""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sipbridge.gateway.contract import Metric
from sipbridge.mapping.attributes import (
    Activity,
    AttributeKind,
    MeansType,
    Place,
    Privacy,
    Sphere,
)
from sipbridge.rest.ocsg_reading import Criterion

Address = Annotated[str, Field(description="A URI: sip, sips, pres, tel, …", max_length=4096)]
Units = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Model(BaseModel):
    """Closed, so that tests notice a member nobody documented."""

    model_config = ConfigDict(extra="forbid")


class Means(Model):
    contact: Address
    priority: Annotated[float, Field(ge=0.0, le=1.0, description="0.0 is lowest")]
    type: MeansType


class Communication(Model):
    means: list[Means]


class Other(Model):
    name: Annotated[str, Field(min_length=1, max_length=128)]
    value: Annotated[str, Field(max_length=4096)]


class TypeAndValue(Model):
    """One value; exactly the member that `unionElement` names, in lower case, is there."""

    unionElement: AttributeKind
    activity: Activity | None = None
    place: Place | None = None
    privacy: Privacy | None = None
    sphere: Sphere | None = None
    communication: Communication | None = None
    other: Other | None = None


class PresenceAttribute(Model):
    lastChange: datetime | None = None
    typeAndValue: TypeAndValue
    note: Annotated[str, Field(max_length=4096)] | None = None


class PresenceResult(Model):
    result: list[PresenceAttribute]


class PublishRequest(Model):
    """The kinds named are replaced, the others stay; an empty list removes everything."""

    presence: list[PresenceAttribute]


class OpenSubscription(Model):
    application: Annotated[
        str, Field(description="For people: what the watcher's side calls itself")
    ]
    attributes: list[AttributeKind]
    watcher: Address


class OpenSubscriptions(Model):
    result: list[OpenSubscription]


class Addresses(Model):
    result: list[Address]


class Decision(Model):
    presenceAttribute: AttributeKind
    decision: Annotated[bool, Field(description="true grants, false denies or revokes")]


class UpdateRequest(Model):
    watcher: Address
    decisions: Annotated[list[Decision], Field(min_length=1)]


class Reference(Model):
    endpoint: Annotated[
        str, Field(description="A Bayeux channel at or below /bayeux/<application>")
    ]
    correlator: Annotated[str, Field(min_length=1, max_length=256)]
    interfaceName: str | None = None


class SubscribeRequest(Model):
    application: Annotated[str, Field(min_length=1, max_length=256)]
    presentity: Address
    reference: Reference
    attributes: Annotated[list[AttributeKind], Field(description="Empty or absent: all")] = []


class TimeMetric(Model):
    metric: Metric
    units: Units


class StartRequest(Model):
    presentity: Address
    reference: Reference
    frequency: Annotated[TimeMetric, Field(description="Least time between two notifications")]
    checkImmediate: Annotated[bool, Field(description="true sends the current state at once")]
    attributes: Annotated[list[AttributeKind], Field(description="Empty or absent: all")] = []
    duration: TimeMetric | None = None
    count: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    criteria: Annotated[
        Criterion | list[Criterion] | None,
        Field(description="Accepted, has no effect"),
    ] = None


class PresenceQuery(Model):
    presentity: Address
    attributes: list[AttributeKind] = []


class FaultDetail(Model):
    type: str
    message: str
    messageId: Annotated[str, Field(pattern="^(SVC|POL)[0-9]{4}$")]
    text: str
    variables: list[str]
    detail: str
    requestId: str


class FaultBody(Model):
    error: FaultDetail


MODELS: tuple[type[Model], ...] = (
    PresenceResult,
    PublishRequest,
    OpenSubscriptions,
    Addresses,
    UpdateRequest,
    SubscribeRequest,
    StartRequest,
    PresenceQuery,
    FaultBody,
)
"""The bodies; everything else is part of one of them."""
