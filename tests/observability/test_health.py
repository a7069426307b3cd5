"""Ready means that everything needed works; a silent peer only degrades."""

from sipbridge.observability.health import Checks, Word


def test_everything_works() -> None:
    checks = Checks()
    checks.need("store", lambda: True)
    checks.want("peer example.com", lambda: True)
    assert checks.live().as_json() == {"status": "ok"}
    ready = checks.ready()
    assert ready.status == 200
    assert ready.as_json() == {"status": "ok", "checks": {"store": "ok", "peer example.com": "ok"}}


def test_a_silent_peer_degrades_with_200() -> None:
    checks = Checks()
    checks.need("store", lambda: True)
    checks.want("peer example.com", lambda: False)
    ready = checks.ready()
    assert (ready.status, ready.word) == (200, Word.DEGRADED)
    assert ready.checks["peer example.com"] == "failed"


def test_without_what_is_needed_it_is_not_ready_but_alive() -> None:
    checks = Checks()
    checks.need("store", lambda: False)
    assert (checks.ready().status, checks.ready().word) == (503, Word.FAILED)
    assert checks.live().status == 200


def test_a_draining_bridge_sends_clients_elsewhere() -> None:
    checks = Checks()
    checks.draining = True
    assert (checks.ready().status, checks.ready().word) == (503, Word.DRAINING)
