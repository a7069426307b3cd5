"""What presence servers really send, up to the application: old formats, merged documents, new nonces."""

import pytest

from tests.app.rig import application, document, presence_server, remote, site

CAROL = "sip:carol@example.com"
XPIDF = b"""<?xml version="1.0"?>
<!DOCTYPE presence PUBLIC "-//IETF//DTD RFCxxxx XPIDF 1.0//EN" "xpidf.dtd">
<presence><presentity uri="sip:carol@example.com;method=SUBSCRIBE"/><atom id="a1">
<address uri="sip:carol@192.0.2.9" priority="0.8"><status status="inuse"/>
<msnsubstatus substatus="onthephone"/></address></atom></presence>"""
CPIM = b"""<?xml version="1.0"?>
<presence xmlns="urn:ietf:params:xml:ns:cpim-pidf:" entity="sip:carol@example.com"
 xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:r="urn:ietf:params:xml:ns:pidf:rpid">
<tuple id="t1"><status><basic>open</basic></status></tuple>
<dm:person id="p1"><r:activities><r:on-the-phone/></r:activities></dm:person></presence>"""
MERGED = b"""<?xml version="1.0"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:carol@example.com"
 xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:r="urn:ietf:params:xml:ns:pidf:rpid">
<tuple xmlns="urn:ietf:params:xml:ns:pidf" id="t1"><status><basic>closed</basic></status></tuple>
<dm:person id="p1"/>
<tuple xmlns="urn:ietf:params:xml:ns:pidf" id="t1"><status><basic>open</basic></status></tuple>
<dm:person xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" id="p1">
<r:activities xmlns:r="urn:ietf:params:xml:ns:pidf:rpid"><r:on-the-phone/></r:activities>
</dm:person></presence>"""


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/xpidf+xml", XPIDF),
        ("application/cpim-pidf+xml", CPIM),
        ("application/pidf+xml", MERGED),
    ],
    ids=["xpidf", "cpim-pidf", "merged with duplicate ids"],
)
async def test_odd_documents_are_understood(kind: str, body: bytes) -> None:
    async with presence_server() as server, site(presence_server=remote(server)) as here:
        bob = await here.application("bob").listen()
        await bob.subscribe(CAROL)
        asked = await server.subscription(CAROL)
        server.notify(asked, document("meeting"))
        await bob.told("notifySubscription")
        await bob.start(CAROL)
        await bob.told_status(Activity="Meeting")
        server.notify(asked, body, kind=kind)
        await bob.told_status(Activity="OnThePhone")
        assert server.responses("NOTIFY") == [200, 200]


async def test_a_nonce_that_changes_costs_one_more_request_and_nothing_else() -> None:
    """Its server has been restarted, say, and knows no nonce of before."""
    apps = [application("alice", sip_password="pw-alice"), application("bob")]
    async with (
        presence_server() as server,
        site(presence_server=remote(server), applications=apps) as here,
    ):
        server.challenge = 'Digest realm="example.com", nonce="first", qop="auth", algorithm=MD5'
        alice = here.application("alice")
        await alice.publish(Activity="Meeting")
        given = [m.get("authorization") for m in server.requests("PUBLISH")]
        assert given[0] == "" and 'nonce="first"' in given[1]
        await alice.publish(Activity="Travel")
        given = [m.get("authorization") for m in server.requests("PUBLISH")]
        assert len(given) == 3 and "nc=00000002" in given[2]
        server.nonce, server.challenge = "second", server.challenge.replace("first", "second")
        await alice.publish(Activity="Meal")
        given = [m.get("authorization") for m in server.requests("PUBLISH")]
        assert len(given) == 5 and 'nonce="second"' in given[4] and "nc=00000001" in given[4]
