from sipbridge.sip.status import CLASSES, REASONS, reason_for


def test_phrases() -> None:
    assert reason_for(200) == "OK"
    assert reason_for(489) == "Bad Event"
    assert reason_for(412) == "Conditional Request Failed"


def test_unregistered_codes_get_the_phrase_of_their_class() -> None:
    assert reason_for(299) == "OK"
    assert reason_for(799) == "Unknown"
    assert all(code // 100 in CLASSES for code in REASONS)
