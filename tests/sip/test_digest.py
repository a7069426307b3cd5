import json
import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipbridge.errors import LocalProtocolError, ParseError
from sipbridge.sip import digest
from sipbridge.sip.digest import (
    Challenge,
    DigestServer,
    Refused,
    Session,
    Stale,
    Verified,
    answer,
    introduction,
    parse_challenges,
    parse_pairs,
    select,
)
from sipbridge.sip.grammar import quote
from sipbridge.sip.nonces import Nonces
from sipbridge.sip.policy import Credentials

# RFC 2617 §3.5 and RFC 7616 §3.9.1: the printed examples.
MUFASA = Credentials("Mufasa", "Circle of Life")
NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


@pytest.mark.parametrize(
    ("algorithm", "printed"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_rfc_7616(algorithm: str, printed: str) -> None:
    challenge = Challenge("Digest", "http-auth@example.org", NONCE, algorithm, ("auth", "auth-int"))
    value = answer(challenge, MUFASA, "GET", "/dir/index.html", b"", 1, CNONCE)
    pairs = parse_pairs(value.removeprefix("Digest "), "Authorization")
    assert pairs["response"] == printed
    assert (pairs["qop"], pairs["nc"], pairs["algorithm"]) == ("auth", "00000001", algorithm)


@pytest.fixture
def any_nonce(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers take every nonce for one that they made when their clock began."""
    monkeypatch.setattr(Nonces, "key", lambda self, nonce: (0, 0))


@pytest.mark.usefixtures("any_nonce")
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_the_examples_of_rfc_7616_are_right_to_the_server(algorithm: str) -> None:
    server = DigestServer("http-auth@example.org", b"s", [algorithm])
    challenge = Challenge("Digest", "http-auth@example.org", NONCE, algorithm, ("auth",))
    value = answer(challenge, MUFASA, "GET", "/dir/index.html", b"", 1, CNONCE)

    def known(user: str, realm: str, algorithm: str) -> str:
        return digest.ha1(algorithm, user, realm, "Circle of Life")

    right = server.verify(value, "GET", "/dir/index.html", b"", 1.0, known)
    assert right == Verified("Mufasa")
    wrong = value.replace("nc=00000001", "nc=00000002")
    assert isinstance(server.verify(wrong, "GET", "/dir/index.html", b"", 1.0, known), Refused)


def test_the_example_of_rfc_2617() -> None:
    challenge = Challenge.parse(
        'Digest realm="testrealm@host.com", qop="auth,auth-int", '
        'nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    value = answer(
        challenge,
        Credentials("Mufasa", "Circle Of Life"),
        "GET",
        "/dir/index.html",
        b"",
        1,
        "0a4f113b",
    )
    assert 'response="6629fae49393a05397450978507c4ef1"' in value
    assert 'opaque="5ccc069c403ebaf9f0171e9517f40e41"' in value
    assert "algorithm" not in value


def test_without_qop_the_old_form_is_used() -> None:
    challenge = Challenge.parse(
        'Digest realm="biloxi.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"'
    )
    value = answer(
        challenge, Credentials("bob", "zanzibar"), "INVITE", "sip:bob@biloxi.com", b"", 1, "c"
    )
    assert 'response="bf57e4e0d0bffc0fbaedce64d59add5e"' in value
    assert not {"qop", "nc", "cnonce"} & set(parse_pairs(value.removeprefix("Digest "), "x"))


def test_auth_int_covers_the_body() -> None:
    challenge = Challenge.parse('Digest realm="r", nonce="n", qop="auth-int"')
    one = answer(challenge, MUFASA, "PUBLISH", "sip:a@b", b"<a/>", 1, "c")
    two = answer(challenge, MUFASA, "PUBLISH", "sip:a@b", b"<b/>", 1, "c")
    assert "qop=auth-int" in one
    assert one != two


def test_user_hash_hides_the_name() -> None:
    challenge = Challenge.parse('Digest realm="r", nonce="n", algorithm=SHA-256, userhash=true')
    value = answer(challenge, MUFASA, "REGISTER", "sip:a", b"", 1, "c")
    assert "Mufasa" not in value
    assert "userhash=true" in value


def test_a_challenge_that_cannot_be_answered_is_our_mistake() -> None:
    with pytest.raises(LocalProtocolError):
        answer(Challenge("Basic"), MUFASA, "A", "sip:a", b"", 1, "c")


def test_challenges_are_read_widely() -> None:
    read = Challenge.parse(
        'digest REALM = "a, b" ,Nonce="x=\\"y\\"",QOP="auth-int, auth" , stale=TRUE, '
        'domain="sip:a sip:b", opaque=""'
    )
    assert (read.realm, read.nonce, read.qop) == ("a, b", 'x="y"', ("auth-int", "auth"))
    assert (read.stale, read.domain, read.opaque) == (True, ("sip:a", "sip:b"), "")
    assert (
        Challenge.parse('Digest realm="r",nonce="n",algorithm="sha-256-SESS"').algorithm
        == "SHA-256-sess"
    )


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "Digest",
        'Digest nonce="n"',
        'Digest realm="r", realm="s", nonce="n"',
        'Digest realm="r, nonce="n"',
        'Digest realm="r" nonce="n"',
        "Digest " + "a" * 9000,
    ],
)
def test_broken_challenges_are_refused(bad: str) -> None:
    with pytest.raises(ParseError) as caught:
        Challenge.parse(bad, proxy=True)
    assert caught.value.field == "Proxy-Authenticate"


def test_a_broken_challenge_does_not_hide_the_good_one() -> None:
    read = parse_challenges(["Digest nonsense", "NewScheme a=b", 'Digest realm="r", nonce="n"'])
    assert [c.scheme for c in read] == ["NewScheme", "Digest"]
    assert [c.usable for c in read] == [False, True]


def test_the_topmost_usable_challenge_of_each_realm_is_chosen() -> None:
    read = parse_challenges(
        [
            'Digest realm="r", nonce="a", algorithm=AKAv1-MD5',
            'Digest realm="r", nonce="b", algorithm=MD5, qop="token"',
            'Digest realm="r", nonce="c", algorithm=MD5',
            'Digest realm="r", nonce="d", algorithm=SHA-256',
            'Digest realm="s", nonce="e"',
        ]
    )
    assert [c.nonce for c in select(read)] == ["c", "e"]
    assert [c.nonce for c in select(read, "SHA-256")] == ["d"]
    assert select(read, "SHA-512-256") == []
    with pytest.raises(LocalProtocolError):
        select(read, "CRC-32")
    both = [*select(read), *parse_challenges(['Digest realm="r", nonce="p"'], proxy=True)]
    assert [c.nonce for c in select(both)] == ["c", "e", "p"]


def test_a_session_counts_and_follows_a_next_nonce() -> None:
    challenge = Challenge.parse('Digest realm="r", nonce="n1", qop="auth", algorithm=SHA-256')
    session = Session(challenge, MUFASA, "c1")
    assert session.header == "Authorization"
    assert "nc=00000001" in session.authorize("SUBSCRIBE", "sip:a")
    assert "nc=00000002" in session.authorize("SUBSCRIBE", "sip:a")
    assert session.learn('nextnonce="n2"')
    value = session.authorize("SUBSCRIBE", "sip:a")
    assert 'nonce="n2"' in value
    assert "nc=00000001" in value


def test_a_session_checks_that_the_server_knows_the_password() -> None:
    challenge = Challenge.parse('Digest realm="r", nonce="n1", qop="auth"', proxy=True)
    session = Session(challenge, MUFASA, "c1")
    session.authorize("SUBSCRIBE", "sip:a")
    secret = digest.ha1("MD5", "Mufasa", "r", "Circle of Life")
    good = digest.response("MD5", secret, "", "sip:a", "n1", qop="auth", nc="00000001", cnonce="c1")
    assert session.learn(f'rspauth="{good}", qop=auth, nc=00000001, cnonce="c1"')
    assert not session.learn('rspauth="00", qop=auth, nc=00000001, cnonce="c1", nextnonce="evil"')
    assert session.challenge.nonce == "n1"
    assert session.learn("nonsense")
    assert session.header == "Proxy-Authorization"


# --- the server -----------------------------------------------------------------------------------------

SERVER = DigestServer("example.com", b"secret of the test")
ALICE = Credentials("alice", "wonderland")


def ha1_of(user: str, realm: str, algorithm: str) -> str | None:
    return digest.ha1(algorithm, user, realm, "wonderland") if user == "alice" else None


def challenges(now: float = 100.0) -> list[Challenge]:
    return parse_challenges(SERVER.challenges(now))


def check(
    value: str,
    now: float = 101.0,
    uri: str = "sip:r@example.com",
    method: str = "SUBSCRIBE",
    body: bytes = b"",
) -> object:
    return SERVER.verify(value, method, uri, body, now, ha1_of)


def signed(
    challenge: Challenge,
    who: Credentials = ALICE,
    uri: str = "sip:r@example.com",
    body: bytes = b"",
) -> str:
    return answer(challenge, who, "SUBSCRIBE", uri, body, 1, "c")


def test_what_the_client_says_the_server_accepts() -> None:
    assert [c.algorithm for c in challenges()] == ["SHA-256", "MD5"]
    for number in (0, 1):
        assert check(signed(challenges()[number])) == Verified("alice")


@settings(deadline=None, max_examples=50)
@given(
    st.text(min_size=1, max_size=10),
    st.text(max_size=10),
    st.sampled_from(["MD5", "SHA-256", "SHA-512-256"]),
)
def test_any_name_and_password(user: str, password: str, algorithm: str) -> None:
    user = "".join(c for c in user if c not in "\r\n" and not "\ud800" <= c <= "\udfff") or "u"
    password = "".join(c for c in password if not "\ud800" <= c <= "\udfff")
    server = DigestServer('a "quoted" realm', b"s", [algorithm])
    (challenge,) = parse_challenges(server.challenges(5))
    value = answer(challenge, Credentials(user, password), "PUBLISH", "sip:x", b"", 1, "c")
    verdict = server.verify(
        value, "PUBLISH", "sip:x", b"", 6, lambda u, r, a: digest.ha1(a, u, r, password)
    )
    assert verdict == Verified(user)


@pytest.mark.parametrize(
    "value",
    [
        signed(challenges()[0], Credentials("alice", "wrong")),
        signed(challenges()[0], Credentials("nobody", "wonderland")),
        signed(challenges()[0], uri="sip:someone-else@example.com"),
        signed(Challenge("Digest", "elsewhere", challenges()[0].nonce, "MD5")),
        signed(Challenge("Digest", "example.com", challenges()[0].nonce, "SHA-512-256")),
        "NoOneKnowsThisScheme opaque-data=here",
    ],
)
def test_wrong_credentials_are_refused(value: str) -> None:
    verdict = check(value)
    assert isinstance(verdict, Refused)
    assert not verdict.malformed


COMPLETE = 'Digest username="a", realm="example.com", nonce="n", uri="sip:r", response="x"'


def test_the_answer_is_for_one_method() -> None:
    assert isinstance(check(signed(challenges()[0]), method="PUBLISH"), Refused)


@pytest.mark.parametrize(
    "value",
    [
        "",
        'Digest realm="example.com", nonce="n", uri="sip:r", response="x"',
        f"{COMPLETE}, qop=auth, nc=00000001",
        f'{COMPLETE}, qop=other, cnonce="c"',
        f'{COMPLETE}, qop=auth, cnonce="c", nc=first',
        f'{COMPLETE}, qop=auth, cnonce="c", nc=000000001',
        'Digest username="a',
    ],
)
def test_malformed_credentials_are_told_apart(value: str) -> None:
    assert isinstance(verdict := check(value), Refused)
    assert verdict.malformed


def test_an_old_nonce_is_stale_for_everybody() -> None:
    value = signed(challenges(100.0)[0])
    assert check(value, now=100.0 + digest.NONCE_LIFE) == Verified("alice")
    assert check(value, now=101.0 + digest.NONCE_LIFE) == Stale()
    wrong = signed(challenges(100.0)[0], Credentials("alice", "wrong"))
    assert check(wrong, now=101.0 + digest.NONCE_LIFE) == Stale()
    assert "stale=true" in SERVER.challenges(500.0, stale=True)[0]
    assert not challenges()[0].stale


def test_a_nonce_of_an_earlier_life_is_stale() -> None:
    assert check(signed(challenges(100.0)[0]), now=3.0) == Stale()


def test_clients_without_qop_and_with_quoted_nc_are_accepted() -> None:
    md5 = challenges()[1]
    bare = Challenge("Digest", md5.realm, md5.nonce, "MD5")
    old = signed(bare)
    assert "qop" not in old
    assert check(old) == Verified("alice")
    bare = Challenge("Digest", md5.realm, challenges()[1].nonce, "MD5")
    assert check(f'{signed(bare)}, nc="00000001"') == Verified("alice")
    quoted = (
        signed(challenges()[1])
        .replace("nc=00000001", 'nc="00000001"')
        .replace("qop=auth", 'qop="auth"')
    )
    assert check(quoted) == Verified("alice")


def test_auth_int_and_sess_are_verified() -> None:
    nonce = challenges()[0].nonce
    whole = Challenge("Digest", "example.com", nonce, "SHA-256", ("auth-int",))
    assert check(signed(whole, body=b"<a/>"), body=b"<a/>") == Verified("alice")
    assert isinstance(check(signed(whole, body=b"<a/>"), body=b"<b/>"), Refused)
    another = challenges()[0].nonce
    sess = Challenge("Digest", "example.com", another, "MD5-sess", ("auth",))
    assert check(signed(sess)) == Verified("alice")


def test_the_uri_may_be_spelt_another_way() -> None:
    value = signed(challenges()[0], uri="sip:r@EXAMPLE.com")
    assert check(value) == Verified("alice")
    assert isinstance(check(signed(challenges()[0], uri="garbage")), Refused)


def test_nonces_differ_over_time_and_between_servers() -> None:
    nonces = [challenges(now)[0].nonce for now in (1.0, 1.5, 2.0)]
    assert all(a != b for a, b in pairwise(nonces))
    other = parse_challenges(DigestServer("example.com", b"another").challenges(100.0))[0]
    assert check(signed(other)) == Stale()
    assert check(signed(other, Credentials("alice", "wrong"))) == Stale()


@pytest.mark.parametrize("nonce", ["mine", "64.forged", "64.1." + "A" * 24, "", "64.1.é"])
def test_no_password_can_be_tried_on_a_nonce_that_is_not_ours(nonce: str) -> None:
    foreign = Challenge("Digest", "example.com", nonce, "MD5", ("auth",))
    for password in ("wonderland", "wrong"):
        assert check(signed(foreign, Credentials("alice", password))) == Stale()


def test_who_only_introduces_himself_has_guessed_nothing() -> None:
    known = Credentials("alice", "wonderland", "example.com")
    assert check(introduction(known, "sip:r@example.com")) == Stale()


def test_what_was_overheard_cannot_be_said_again() -> None:
    value = signed(challenges()[0])
    assert check(value) == Verified("alice")
    assert check(value) == Stale()
    assert check(value, method="PUBLISH") == Refused("wrong user or password", guessed=True)


def test_every_count_serves_once_in_any_order() -> None:
    (challenge, _) = challenges()

    def counted(number: int) -> object:
        return check(answer(challenge, ALICE, "SUBSCRIBE", "sip:r@example.com", b"", number, "c"))

    assert [counted(n) for n in (1, 3, 2)] == [Verified("alice")] * 3
    assert [counted(n) for n in (1, 2, 3)] == [Stale()] * 3
    assert counted(4) == Verified("alice")


def test_an_answer_without_count_uses_its_nonce_up() -> None:
    bare = Challenge("Digest", "example.com", challenges()[1].nonce, "MD5")
    assert check(signed(bare)) == Verified("alice")
    assert check(signed(bare)) == Stale()
    assert check(f'{signed(bare)}, nc="00000002"') == Stale()


def test_a_server_needs_a_secret_and_known_algorithms() -> None:
    for secret, algorithms in ((b"", ["MD5"]), (b"x", []), (b"x", ["AKAv1-MD5"])):
        with pytest.raises(LocalProtocolError):
            DigestServer("r", secret, algorithms)
    for qops in ([], ["auth", "other"]):
        with pytest.raises(LocalProtocolError):
            DigestServer("r", b"x", qops=qops)


def test_a_client_that_cannot_read_a_list_is_offered_one_quality() -> None:
    server = DigestServer("example.com", b"x", ["MD5"], qops=["auth"])
    (value,) = server.challenges(5)
    assert value.endswith(', algorithm=MD5, qop="auth"')


def test_aiovoip_counts_without_leading_zeros() -> None:
    nonce, secret = challenges()[1].nonce, digest.ha1("MD5", "alice", "example.com", "wonderland")
    told = digest.response(
        "MD5", secret, "SUBSCRIBE", "sip:r@example.com", nonce, qop="auth", nc="1", cnonce="c"
    )
    value = (
        f'Digest realm="example.com", nonce="{nonce}", algorithm=MD5, qop="auth", method="SUBSCRIBE",'
        f' uri="sip:r@example.com", username="alice", response="{told}", nc="1", cnonce="c"'
    )
    assert check(value) == Verified("alice")


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=80) | st.text(max_size=60).map(lambda t: f'Digest username="a", {t}'))
def test_any_header_value_gets_a_verdict(value: str) -> None:
    assert isinstance(check(value), Refused)


# --- vectors kept outside -----------------------------------------------------------------------------

CORPUS = Path(
    os.environ.get("SIPBRIDGE_CORPUS") or Path(__file__).parents[2].parent / "shared" / "corpus"
)
FILE = CORPUS / "auth" / "digest.json"
DATA = json.loads(FILE.read_text()) if FILE.exists() else {}
outside = pytest.mark.skipif(not DATA, reason="the reference corpus is not at hand")


@outside
@pytest.mark.parametrize("vector", DATA.get("vectors", []), ids=lambda v: str(v["id"]))
def test_vectors(vector: dict[str, str | None]) -> None:
    v = {name: "" if value is None else str(value) for name, value in vector.items()}
    qop = (v["qop"],) if v["qop"] else ()
    challenge = Challenge(
        "Digest", v["realm"], v["nonce"], v["algorithm"], qop, vector.get("opaque")
    )
    who = Credentials(v["username"], v["password"])
    count = int(v["nc"] or "1", 16)
    value = answer(challenge, who, v["method"], v["uri"], v["body"].encode(), count, v["cnonce"])
    pairs = parse_pairs(value.removeprefix("Digest "), "Authorization")
    assert pairs["response"] == v["response"]
    assert (pairs["username"], pairs["realm"]) == (v["username"], v["realm"])
    assert pairs.get("nc", "") == v["nc"]
    if v.get("userhash"):
        assert digest.userhash(v["algorithm"], v["username"], v["realm"]) == v["userhash"]
    if not v["algorithm"].endswith("-sess"):
        assert digest.ha1(v["algorithm"], v["username"], v["realm"], v["password"]) == v["ha1"]


@outside
@pytest.mark.usefixtures("any_nonce")
@pytest.mark.parametrize("vector", DATA.get("vectors", []), ids=lambda v: str(v["id"]))
@pytest.mark.parametrize("wrong", [False, True])
def test_vectors_at_the_server(vector: dict[str, str | None], wrong: bool) -> None:
    """The vector's response is right, changed it is wrong."""
    v = {name: "" if value is None else str(value) for name, value in vector.items()}
    base = v["algorithm"].removesuffix("-sess")
    given = v["response"] if not wrong else v["response"].translate({ord("0"): "1", ord("1"): "0"})
    parts = [f"{name}={quote(v[name])}" for name in ("username", "realm", "nonce", "uri")]
    parts += [f'response="{given}"', f"algorithm={v['algorithm']}"]
    if v["qop"]:
        parts += [f"qop={v['qop']}", f"nc={v['nc']}", f"cnonce={quote(v['cnonce'])}"]
    server = DigestServer(v["realm"], b"s", [base])
    verdict = server.verify(
        "Digest " + ", ".join(parts),
        v["method"],
        v["uri"],
        v["body"].encode(),
        1.0,
        lambda user, realm, algorithm: digest.ha1(algorithm, user, realm, v["password"]),
    )
    told = Refused("wrong user or password", guessed=True)
    assert verdict == (told if wrong else Verified(v["username"]))


@outside
@pytest.mark.parametrize("case", DATA.get("challenges", []), ids=lambda c: str(c["header"])[:40])
def test_challenges(case: dict[str, object]) -> None:
    try:
        read = Challenge.parse(str(case["header"]))
    except ParseError:
        assert case.get("usable") is False
        return
    if case.get("usable") is False:
        assert not read.usable
    wanted = case.get("parsed")
    assert isinstance(wanted, dict)
    for name, value in wanted.items():
        got = getattr(read, name)
        assert (list(got) if isinstance(got, tuple) else got) == value, name


@outside
@pytest.mark.parametrize("case", DATA.get("choices", []), ids=lambda c: str(c["why"])[:40])
def test_choices(case: dict[str, object]) -> None:
    headers = case["headers"]
    assert isinstance(headers, list)
    read = parse_challenges(headers)
    pick = case["pick"]
    assert [read.index(c) for c in select(read)] == (pick if isinstance(pick, list) else [pick])


@outside
@pytest.mark.parametrize(
    "case", DATA.get("authentication_info", []), ids=lambda c: str(c["note"])[:40]
)
def test_authentication_info(case: dict[str, object]) -> None:
    v = case["for"]
    assert isinstance(v, dict)
    challenge = Challenge("Digest", v["realm"], v["nonce"], v["algorithm"], ("auth",))
    session = Session(challenge, Credentials(v["username"], v["password"]), v["cnonce"])
    session.authorize("REGISTER", v["uri"])
    header = str(case["header"]).replace("<computed>", str(case["rspauth"]))
    assert session.learn(header)
    assert session.challenge.nonce == "nn2"
    assert "nc=00000001" in session.authorize("REGISTER", v["uri"])
