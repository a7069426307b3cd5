"""A page from another origin watches with EventSource and WebSocket, which send no credentials: tickets."""

from pathlib import Path

import pytest

from tests.app.processes import served
from tests.app.rig import application, configuration
from tests.browser import chromium
from tests.browser.test_page import pages

ALICE = "sip:alice@example.com"
TOKEN = "the-token-of-bob-0123456789"

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(chromium.path() is None, reason="no chromium: make interop installs it"),
]

PAGE = """<!doctype html>
<p id="events">...</p><p id="socket">...</p><p id="again">...</p>
<script type="module">
  const bridge = "BRIDGE", presences = bridge + "/webex/people/presences";
  const headers = {"Authorization": "Bearer TOKEN", "Content-Type": "application/json"};
  const post = async (url, body) =>
    (await fetch(url, {method: "POST", headers, body: JSON.stringify(body)})).json();
  const ticket = async () => (await post(bridge + "/auth/tickets", {})).ticket;
  const show = id => ({data}) => {
    const {handle, presence} = JSON.parse(data);
    document.getElementById(id).textContent = `${handle} ${presence.status}`;
  };
  await post(presences + "/watch", {contactIds: ["ALICE"]});
  const used = await ticket();
  new EventSource(presences + "/events?ticket=" + used).onmessage = show("events");
  const socket = presences.replace("http", "ws") + "/stream?ticket=";
  new WebSocket(socket + await ticket()).onmessage = show("socket");
  const again = new WebSocket(socket + used);
  again.onerror = () => { document.getElementById("again").textContent = "refused"; };
  again.onmessage = show("again");
</script>
"""


async def test_a_page_watches_with_tickets(tmp_path: Path) -> None:
    async with pages() as elsewhere:
        tree = configuration(
            http={"port": 0, "allowed_origins": [elsewhere.origin]},
            agent={"sub_handling": "allow"},
            applications=[application("alice"), application("bob", auth_tokens=[TOKEN])],
        )
        async with (
            served(tmp_path, tree) as bridge,
            chromium.browser(tmp_path / "profile") as browser,
        ):
            text = PAGE.replace("BRIDGE", bridge.base).replace("TOKEN", TOKEN)
            elsewhere.text = text.replace("ALICE", ALICE)
            await bridge.application("alice").publish(Activity="Meeting")
            tab = await browser.open(elsewhere.origin + "/")
            await tab.shows("#events", "1 Meeting")
            await tab.shows("#socket", "1 Meeting")
            await tab.shows("#again", "refused")
            await bridge.application("alice").publish(Activity="Busy")
            await tab.shows("#events", "1 Busy")
            await tab.shows("#socket", "1 Busy")
