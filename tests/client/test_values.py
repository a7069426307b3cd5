"""Typed values: what is read from answers, what is written into requests."""

from datetime import UTC, datetime, timedelta

import pytest

from sipbridge.client import (
    Activity,
    Attribute,
    AttributeKind,
    Means,
    MeansType,
    Metric,
    NotifySubscription,
    Other,
    OtherNotification,
    Place,
    Privacy,
    Sphere,
    StatusChanged,
    TimeMetric,
    attribute,
)
from sipbridge.client.values import notification, read_attributes, time_metric
from sipbridge.errors import InvalidValue
from sipbridge.gateway import contract

AT = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


def test_the_units_are_those_of_the_bridge() -> None:
    assert [one.value for one in Metric] == [one.value for one in contract.Metric]


@pytest.mark.parametrize(
    ("given", "written"),
    [
        (timedelta(0), (Metric.SECOND, 0)),
        (timedelta(milliseconds=1500), (Metric.MILLISECOND, 1500)),
        (timedelta(seconds=90), (Metric.SECOND, 90)),
        (timedelta(minutes=2), (Metric.MINUTE, 2)),
        (timedelta(hours=36), (Metric.HOUR, 36)),
        (timedelta(days=2), (Metric.DAY, 2)),
        (timedelta(weeks=3), (Metric.WEEK, 3)),
        (TimeMetric(Metric.MONTH, 2), (Metric.MONTH, 2)),
    ],
)
def test_a_length_is_written_in_whole_units(
    given: TimeMetric | timedelta, written: tuple[Metric, int]
) -> None:
    metric = time_metric(given, "duration")
    assert (metric.metric, metric.units) == written


@pytest.mark.parametrize("given", [timedelta(seconds=-1), timedelta(microseconds=5)])
def test_a_length_that_cannot_be_written_is_refused(given: timedelta) -> None:
    with pytest.raises(InvalidValue):
        time_metric(given, "duration")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Activity.BUSY, AttributeKind.ACTIVITY),
        (Place.HOME, AttributeKind.PLACE),
        (Privacy.QUIET, AttributeKind.PRIVACY),
        (Sphere.WORK, AttributeKind.SPHERE),
        (Other("a", "b"), AttributeKind.OTHER),
        ((), AttributeKind.COMMUNICATION),
    ],
)
def test_a_bare_value_knows_its_kind(value: Activity, kind: AttributeKind) -> None:
    assert attribute(value, "why") == Attribute(kind, value, "why")


def test_what_is_no_value_is_refused() -> None:
    with pytest.raises(InvalidValue):
        attribute("Busy")  # type: ignore[arg-type]


def test_what_others_have_published_is_shown_as_it_is() -> None:
    """A contact that is no URI, a value longer than any that may be published."""
    means = {"contact": "no uri at all", "priority": 0.5, "type": "Phone"}
    listed = [
        {
            "lastChange": "2024-05-06T07:08:09.000Z",
            "typeAndValue": {"unionElement": "Communication", "communication": {"means": [means]}},
        },
        {
            "typeAndValue": {"unionElement": "Other", "other": {"name": "n", "value": "v" * 9000}},
            "note": "x" * 9000,
        },
    ]
    assert read_attributes(listed, "result") == (
        Attribute(
            AttributeKind.COMMUNICATION,
            (Means("no uri at all", 0.5, MeansType.PHONE),),
            None,
            AT,
        ),
        Attribute(AttributeKind.OTHER, Other("n", "v" * 9000), "x" * 9000),
    )


def test_decisions_may_come_as_words() -> None:
    decisions = [
        {"decision": "true", "presenceAttribute": "Activity"},
        {"decision": False, "presenceAttribute": "Place"},
    ]
    told = notification({"notifySubscription": {"presentity": "sip:a@b", "decisions": decisions}})
    assert told == NotifySubscription(
        "sip:a@b", frozenset({AttributeKind.ACTIVITY}), frozenset({AttributeKind.PLACE})
    )


def test_a_status_knows_its_values() -> None:
    union = {"unionElement": "Activity", "activity": "Busy"}
    body = {
        "presentity": "sip:a@b",
        "correlator": "c",
        "changedAttributes": [{"typeAndValue": union}],
    }
    told = notification({"statusChanged": body}, "7")
    assert isinstance(told, StatusChanged)
    assert told.value(AttributeKind.ACTIVITY) is Activity.BUSY
    assert (told.value(AttributeKind.PLACE), told.event_id) == (None, "7")


@pytest.mark.parametrize(
    "body",
    [
        {"statusChanged": {"presentity": "a", "correlator": "b", "changedAttributes": [7]}},
        {
            "statusChanged": {
                "presentity": "a",
                "correlator": "b",
                "changedAttributes": [
                    {
                        "typeAndValue": {
                            "unionElement": "Communication",
                            "communication": {
                                "means": [{"contact": "a", "priority": 1, "type": "Telepathy"}]
                            },
                        }
                    }
                ],
            }
        },
        {"statusEnd": None},
        {"somethingNew": {}},
        {},
    ],
)
def test_what_cannot_be_read_is_handed_on_as_it_is(body: dict[str, object]) -> None:
    assert notification(body) == OtherNotification(next(iter(body), ""), body)
