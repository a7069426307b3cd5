"""Names nobody has used before."""

from sipbridge.sip.identifiers import CHUNK, Identifiers


def test_names_have_the_bits_the_rfc_asks_for() -> None:
    made = Identifiers()
    assert made.branch().startswith("z9hG4bK") and len(made.branch()) == 27
    assert len(made.tag()) * 4 >= 32
    assert len(made.call_id()) == 32
    assert len(made.entity_tag()) == 20
    assert len(made.cnonce()) == 16


def test_names_do_not_repeat_across_refills() -> None:
    made = Identifiers()
    names = [made.tag() for _ in range(4 * CHUNK // 8)]
    assert len(set(names)) == len(names)


def test_a_seed_replays_the_same_names_and_another_does_not() -> None:
    first, again, other = (Identifiers.seeded(seed) for seed in ("a", "a", "b"))
    names = [first.branch() for _ in range(2000)]
    assert names == [again.branch() for _ in range(2000)]
    assert names[0] != other.branch()
    assert len(set(names)) == 2000


def test_jitter_lies_between_zero_and_one_and_is_spread() -> None:
    made = Identifiers.seeded("jitter")
    values = [made.fraction() for _ in range(500)]
    assert 0.0 <= min(values) < 0.1 and 0.9 < max(values) < 1.0
