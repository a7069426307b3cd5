"""pjsua2 as a phone: pjsua_client.py HOST PORT TRANSPORT NAME PASSWORD LOCAL_PORT FOLDER watch|publish WORD

Watches WORD, or publishes WORD as its activity a second after it began. What it is told goes to standard
output. A line of standard input is another activity to publish, or `quit`; else it runs until it is ended.
"""

import select
import sys
import time

import pjsua2 as pj

HOST, PORT, TRANSPORT, NAME, PASSWORD, LOCAL_PORT, FOLDER, WHAT, WORD = sys.argv[1:]
ACTIVITIES = {"busy": pj.PJRPID_ACTIVITY_BUSY, "away": pj.PJRPID_ACTIVITY_AWAY}
NAMES = {number: name for name, number in ACTIVITIES.items()}
KINDS = {
    "udp": pj.PJSIP_TRANSPORT_UDP,
    "tcp": pj.PJSIP_TRANSPORT_TCP,
    "tls": pj.PJSIP_TRANSPORT_TLS,
}


class Friend(pj.Buddy):  # type: ignore[misc]
    def onBuddyState(self) -> None:
        told = self.getInfo()
        status = told.presStatus
        is_there = "open" if status.status == pj.PJSUA_BUDDY_STATUS_ONLINE else "closed"
        activity = NAMES.get(status.activity, "none")
        print(told.subStateName, is_there, activity, status.note, flush=True)


endpoint = pj.Endpoint()
endpoint.libCreate()
settings = pj.EpConfig()
settings.logConfig.level = settings.logConfig.consoleLevel = 1
settings.uaConfig.threadCnt = 0
settings.uaConfig.mainThreadOnly = True
endpoint.libInit(settings)
transport = pj.TransportConfig()
transport.boundAddress = HOST
transport.port = int(LOCAL_PORT)
endpoint.transportCreate(KINDS[TRANSPORT], transport)
endpoint.libStart()
endpoint.audDevManager().setNullDev()
account = pj.AccountConfig()
account.idUri = f"sip:{NAME}@example.com"
account.regConfig.registrarUri = ""
account.sipConfig.proxies.append(f"sip:{HOST}:{PORT};transport={TRANSPORT};lr")
account.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", NAME, 0, PASSWORD))
account.presConfig.publishEnabled = WHAT == "publish"
me = pj.Account()
me.create(account)
if WHAT == "watch":
    friend = Friend()
    buddy = pj.BuddyConfig()
    buddy.uri = f"sip:{WORD}@example.com"
    buddy.subscribe = True
    friend.create(me, buddy)


def publish(activity: str) -> None:
    status = pj.PresenceStatus()
    status.status = pj.PJSUA_BUDDY_STATUS_ONLINE
    status.activity = ACTIVITIES[activity]
    status.note = f"{activity} at the desk"
    me.setOnlineStatus(status)


print("begun", flush=True)
begun = time.monotonic()
command = ""
while command != "quit":
    endpoint.libHandleEvents(50)
    if WHAT == "publish" and time.monotonic() - begun > 1:
        publish(WORD)
        begun = float("inf")
    if select.select([sys.stdin], [], [], 0)[0]:
        command = sys.stdin.readline().strip()
        if command in ACTIVITIES:
            publish(command)
endpoint.libDestroy()
