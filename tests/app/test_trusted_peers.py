"""Who proves to be whom at a running bridge: trusted peers by address or certificate, users by digest."""

from pathlib import Path

import pytest

from sipbridge.app.sip_client import SipClient
from sipbridge.events.publisher import Published, PublishFailed
from sipbridge.sip.policy import Credentials
from sipbridge.transports.tls import Tls
from sipbridge.uri import Uri
from tests.app.rig import PATIENCE, application, document, settings, site
from tests.app.test_admin import ADMIN, operator
from tests.app.test_connections import server_of, sip
from tests.interop.wire import Talker
from tests.transports.certificates import Authority

ALICE, CAROL, PROXY = (
    Uri.parse(text)
    for text in ("sip:alice@example.com", "sip:carol@example.com", "sip:proxy@elsewhere.example")
)
ASSERTS_CAROL = [("P-Asserted-Identity", f'"Carol" <{CAROL}>, <tel:+15550100>')]


async def publishes(client: SipClient, entity: Uri = CAROL) -> int | None:
    """200, or the status by which a PUBLISH for somebody is refused."""
    await client.open()
    try:
        client.publish(document("meeting", str(entity)), entity=entity)
        said = await client.wait_for(lambda s: isinstance(s, Published | PublishFailed), PATIENCE)
        assert isinstance(said, Published | PublishFailed)
        return 200 if isinstance(said, Published) else said.status
    finally:
        await client.close()


@pytest.mark.parametrize(
    ("names", "status"),
    [
        (["scscf.example.com"], 200),
        (["sip:scscf.example.com", "other.example.com"], 200),
        (["other.example.com"], 401),
        (["*.example.com"], 401),
        (["sip:user@scscf.example.com"], 401),
    ],
)
async def test_over_mutual_tls_the_certificate_says_whom_to_believe(
    tmp_path: Path, names: list[str], status: int
) -> None:
    authority = Authority(tmp_path)
    known = settings(
        sip=sip(authority, "tls:127.0.0.1:0", verify="mutual"),
        agent={"authenticate": True, "trusted_peers": ["scscf.example.com"]},
    )
    async with site(known) as here:
        tls = Tls([authority.issue("proxy", names)], ca=authority.ca)
        server = server_of(here, "tls")
        proxy = SipClient(PROXY, server, transport="tls", tls=tls, headers=ASSERTS_CAROL)
        assert await publishes(proxy) == status


@pytest.mark.parametrize("digest", [False, True])
@pytest.mark.parametrize("trusted", ["127.0.0.1", "127.0.0.8/29", "192.0.2.0/24"])
async def test_over_udp_the_address_says_whom_to_believe(trusted: str, digest: bool) -> None:
    agent = {"authenticate": digest, "trusted_peers": [trusted]}
    async with site(agent=agent) as here:
        status = 200 if trusted == "127.0.0.1" else 401 if digest else 403
        assert await publishes(SipClient(PROXY, here.sip, headers=ASSERTS_CAROL)) == status
        # From alone proves nothing to anybody.
        assert await publishes(SipClient(CAROL, here.sip)) == (401 if digest else 403)


async def test_applications_of_the_bridge_are_served_beside_trusted_peers() -> None:
    async with site(agent={"trusted_peers": ["192.0.2.1"], "sub_handling": "allow"}) as here:
        alice, bob = here.application("alice"), await here.application("bob").listen()
        await alice.publish(Activity="Meeting")
        await bob.subscribe(str(ALICE))
        assert "notifySubscription" in await bob.inbox.get()


async def test_an_application_added_while_the_bridge_runs_proves_itself_by_digest() -> None:
    """With a private identity of its own, which proves its public one and nobody else's."""
    async with site(admin=ADMIN, agent={"authenticate": True}) as here:
        private = Credentials("c@private", "carolpw")
        assert await publishes(SipClient(CAROL, here.sip, credentials=private)) == 401
        await operator(here).add("carol", sip_password="carolpw", sip_username="c@private")
        assert await publishes(SipClient(CAROL, here.sip, credentials=private)) == 200
        assert await publishes(SipClient(ALICE, here.sip, credentials=private), ALICE) == 403
        await operator(here).change("carol", sip_password="another")
        assert await publishes(SipClient(CAROL, here.sip, credentials=private)) == 401
        private = Credentials("c@private", "another")
        assert await publishes(SipClient(CAROL, here.sip, credentials=private)) == 200
        await operator(here).change("carol", disabled=True)
        assert await publishes(SipClient(CAROL, here.sip, credentials=private)) == 401


async def test_of_two_users_of_one_name_the_one_of_our_domain_is_known() -> None:
    applications = [
        {**application("one", sip_password="one"), "uri": "sip:carol@partner.example"},
        {**application("two", sip_password="two"), "uri": str(CAROL)},
    ]
    async with site(agent={"authenticate": True}, applications=applications) as here:
        for password, status in (("two", 200), ("one", 401)):
            client = SipClient(CAROL, here.sip, credentials=Credentials("carol", password))
            assert await publishes(client) == status


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256", "SHA-512-256"])
async def test_the_users_of_the_file_prove_themselves_by_each_algorithm(
    tmp_path: Path, algorithm: str
) -> None:
    from sipbridge.cli.hash_password import hash_lines

    users = tmp_path / "users"
    users.write_text("\n".join(hash_lines("pw", ("carol", "example.com"))))
    agent = {"authenticate": True, "users_file": str(users), "algorithms": [algorithm]}
    async with site(agent=agent) as here:
        good = SipClient(CAROL, here.sip, credentials=Credentials("carol", "pw"))
        assert await publishes(good) == 200
        wrong = SipClient(CAROL, here.sip, credentials=Credentials("carol", "no"))
        assert await publishes(wrong) == 401


async def test_without_a_registrar_register_is_405_with_allow() -> None:
    async with site(agent={"registrar": False}) as here:
        host, _, port = here.sip.rpartition(":")
        talker = Talker(str(CAROL), (host, int(port)), "udp", "")
        await talker.open()
        try:
            answer = await talker.ask("REGISTER", "sip:example.com")
        finally:
            await talker.close()
        assert answer is not None and answer.status == 405
        assert {"PUBLISH", "SUBSCRIBE", "OPTIONS"} <= set(answer.get("allow").split(", "))
        assert "REGISTER" not in answer.get("allow")
