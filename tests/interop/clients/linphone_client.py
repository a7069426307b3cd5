"""liblinphone as a phone: linphone_client.py HOST PORT TRANSPORT NAME PASSWORD LOCAL_PORT FOLDER
watch|publish WORD

Watches WORD, or publishes WORD as its activity, with a note. What it is told goes to standard output. A line
of standard input is another activity to publish, or `quit`; else it runs until it is ended. The library is
spoken to in C.
"""

import ctypes
import os
import re
import select
import sys
import time
from pathlib import Path

HOST, PORT, TRANSPORT, NAME, PASSWORD, LOCAL_PORT, FOLDER, WHAT, WORD = sys.argv[1:]
POINTER, NUMBER = ctypes.c_void_p, ctypes.c_int
MAX_ACTIVITIES = 28

os.environ |= {"HOME": FOLDER, "XDG_DATA_HOME": FOLDER, "XDG_CONFIG_HOME": FOLDER}
for folder in ("linphone", ".local/share/linphone"):
    Path(FOLDER, folder).mkdir(parents=True, exist_ok=True)
hop = f"sip:{HOST}:{PORT};transport={TRANSPORT}"
ports = {kind: LOCAL_PORT if kind == TRANSPORT else 0 for kind in ("udp", "tcp", "tls")}
friends = (
    f'[friend_0]\nurl="{WORD}" <sip:{WORD}@example.com>\npol=accept\nsubscribe=1\n'
    if WHAT == "watch"
    else ""
)
settings = Path(FOLDER, "linphonerc")
settings.write_text(
    f"[sip]\nguess_hostname=1\nuse_ipv6=0\nbind_address={HOST}\nsip_port={ports['udp']}\n"
    f"sip_tcp_port={ports['tcp']}\nsip_tls_port={ports['tls']}\ndefault_proxy=0\n"
    "subscribe_presence_only_when_registered=0\n"
    "[sound]\nplayback_dev_id=none\n[net]\nforce_ice_disablement=1\nforce_network=1\n"
    f"[auth_info_0]\nusername={NAME}\npasswd={PASSWORD}\ndomain=example.com\n"
    f"[proxy_0]\nreg_proxy=<{hop}>\nreg_route=<{hop};lr>\nreg_identity=sip:{NAME}@example.com\n"
    f"reg_expires=600\nreg_sendregister=1\npublish={int(WHAT == 'publish')}\npublish_expires=600\n"
    + friends
)
library = ctypes.CDLL("liblinphone.so.10")


def call(name: str, *arguments: object, gives: object = POINTER) -> object:
    """linphone_NAME; large numbers are pointers, text is UTF-8."""
    function = getattr(library, f"linphone_{name}")
    function.restype = gives
    ready = [a.encode() if isinstance(a, str) else a for a in arguments]
    return function(*[POINTER(a) if isinstance(a, int) and a > 2**31 else a for a in ready])


def words(activity: object) -> str:
    """OnThePhone as on-the-phone."""
    told = call("presence_activity_to_string", activity, gives=ctypes.c_char_p)
    assert isinstance(told, bytes)
    return "-".join(re.findall("[A-Z]+[a-z]*|[a-z]+", told.decode().split("(")[0])).lower()


def told(core: int, friend: int) -> None:
    model = call("friend_get_presence_model", friend)
    if model is None:
        return
    count = call("presence_model_get_nb_activities", model, gives=ctypes.c_uint)
    assert isinstance(count, int)
    shown = [words(call("presence_model_get_nth_activity", model, n)) for n in range(count)]
    is_open = call("presence_model_get_basic_status", model, gives=NUMBER) == 0
    print("friend", "open" if is_open else "closed", *shown, flush=True)


callback = ctypes.CFUNCTYPE(None, POINTER, POINTER)(told)
factory = call("factory_get")
core = call("factory_create_core_3", factory, str(settings), None, None)
call("core_set_network_reachable", core, 1)
callbacks = call("factory_create_core_cbs", factory)
call("core_cbs_set_notify_presence_received", callbacks, callback)
call("core_add_callbacks", core, callbacks)
call("core_start", core)


def publish(activity: str) -> None:
    for number in range(MAX_ACTIVITIES):
        if words(call("core_create_presence_activity", core, number, None)) == activity:
            note = f"{activity} at the desk"
            name = "core_create_presence_model_with_activity_and_note"
            model = call(name, core, number, None, note, "en")
            call("core_set_presence_model", core, model)
            print("published", activity, flush=True)


print("begun", flush=True)
begun = time.monotonic()
command = ""
while command != "quit":
    call("core_iterate", core)
    time.sleep(0.02)
    if WHAT == "publish" and time.monotonic() - begun > 1.5:
        begun = float("inf")
        publish(WORD)
    if select.select([sys.stdin], [], [], 0)[0]:
        command = sys.stdin.readline().strip()
        publish(command)
call("core_stop", core)
