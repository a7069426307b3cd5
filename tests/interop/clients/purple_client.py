"""libpurple (Pidgin, finch) as a phone: purple_client.py HOST PORT TRANSPORT NAME PASSWORD LOCAL_PORT FOLDER
watch|publish WORD

Watches WORD, or publishes that it is there. What it is told goes to standard output; it runs until it is
ended. The library is spoken to in C; its event loop is GLib's.
"""

import ctypes
import glob
import sys
import time

HOST, PORT, TRANSPORT, NAME, PASSWORD, LOCAL_PORT, FOLDER, WHAT, WORD = sys.argv[1:]
POINTER, NUMBER, COUNT, TEXT = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint, ctypes.c_char_p
READ, WRITE = 1, 2
GLIB_READ, GLIB_WRITE = 1 | 8 | 16, 4 | 8 | 16
"""G_IO_IN and G_IO_OUT, each with error and hang-up."""
AVAILABLE = 2

glib = ctypes.CDLL("libglib-2.0.so.0")
purple = ctypes.CDLL("libpurple.so.0", mode=ctypes.RTLD_GLOBAL)  # plugins find their symbols here
kept: list[object] = []

ADD_TIMEOUT = ctypes.CFUNCTYPE(COUNT, COUNT, POINTER, POINTER)
ADD_INPUT = ctypes.CFUNCTYPE(COUNT, NUMBER, NUMBER, POINTER, POINTER)
REMOVE = ctypes.CFUNCTYPE(NUMBER, COUNT)
WATCH = ctypes.CFUNCTYPE(NUMBER, POINTER, NUMBER, POINTER)
HANDLER = ctypes.CFUNCTYPE(None, POINTER, NUMBER, NUMBER)
OF_BUDDY = ctypes.CFUNCTYPE(None, POINTER)
OF_STATUS = ctypes.CFUNCTYPE(None, POINTER, POINTER, POINTER)


class EventLoop(ctypes.Structure):
    """PurpleEventLoopUiOps."""

    _fields_ = [
        ("timeout_add", ADD_TIMEOUT),
        ("timeout_remove", REMOVE),
        ("input_add", ADD_INPUT),
        ("input_remove", REMOVE),
        ("input_get_error", POINTER),
        ("timeout_add_seconds", ADD_TIMEOUT),
        ("reserved", POINTER * 3),
    ]


def pointer(name: str, *arguments: object) -> ctypes.c_void_p:
    function = getattr(purple, f"purple_{name}")
    function.restype = POINTER
    return POINTER(function(*arguments))


def text(name: str, *arguments: object) -> str:
    function = getattr(purple, f"purple_{name}")
    function.restype = TEXT
    return (function(*arguments) or b"").decode()


def input_add(descriptor: int, wanted: int, function: int, data: int) -> int:
    handle = HANDLER(function)

    def ready(channel: int, seen: int, nothing: int) -> int:
        happened = (READ if seen & GLIB_READ else 0) | (WRITE if seen & GLIB_WRITE else 0)
        handle(data, descriptor, happened & wanted or happened)
        return 1

    callback = WATCH(ready)
    kept.append(callback)
    glib.g_io_channel_unix_new.restype = POINTER
    channel = POINTER(glib.g_io_channel_unix_new(descriptor))
    events = (GLIB_READ if wanted & READ else 0) | (GLIB_WRITE if wanted & WRITE else 0)
    return int(glib.g_io_add_watch(channel, events, callback, None))


def show(buddy: int) -> None:
    status = pointer("presence_get_active_status", pointer("buddy_get_presence", POINTER(buddy)))
    print(
        "buddy", text("buddy_get_name", POINTER(buddy)), text("status_get_id", status), flush=True
    )


signed = OF_BUDDY(show)
changed = OF_STATUS(lambda buddy, old, new: show(buddy))
loop = EventLoop(
    timeout_add=ADD_TIMEOUT(lambda ms, f, d: glib.g_timeout_add(ms, POINTER(f), POINTER(d))),
    timeout_add_seconds=ADD_TIMEOUT(
        lambda s, f, d: glib.g_timeout_add_seconds(s, POINTER(f), POINTER(d))
    ),
    timeout_remove=REMOVE(lambda handle: glib.g_source_remove(handle)),
    input_remove=REMOVE(lambda handle: glib.g_source_remove(handle)),
    input_add=ADD_INPUT(input_add),
)
purple.purple_util_set_user_dir(FOLDER.encode())
purple.purple_debug_set_enabled(0)
purple.purple_eventloop_set_ui_ops(ctypes.byref(loop))
for folder in glob.glob("/usr/lib/*/purple-2"):
    purple.purple_plugins_add_search_path(folder.encode())
if not purple.purple_core_init(b"interop"):
    sys.exit("libpurple did not start")
purple.purple_prefs_set_bool(b"/purple/network/auto_ip", 0)
purple.purple_network_set_public_ip(HOST.encode())
purple.purple_prefs_set_bool(b"/purple/network/ports_range_use", 1)
for end in ("start", "end"):
    purple.purple_prefs_set_int(f"/purple/network/ports_range_{end}".encode(), int(LOCAL_PORT))
ctypes.CDLL(None).srand(int(LOCAL_PORT))  # or every instance draws the same branches
purple.purple_set_blist(pointer("blist_new"))
account = pointer("account_new", f"{NAME}@example.com".encode(), b"prpl-simple")
purple.purple_account_set_password(account, PASSWORD.encode())
for key, flag in {
    b"udp": TRANSPORT == "udp",
    b"useproxy": True,
    b"dopublish": WHAT == "publish",
}.items():
    purple.purple_account_set_bool(account, key, int(flag))
purple.purple_account_set_int(account, b"port", int(PORT))
purple.purple_account_set_string(account, b"proxy", HOST.encode())
purple.purple_accounts_add(account)
handle = ctypes.byref(NUMBER())
for signal, callback in {
    b"buddy-signed-on": signed,
    b"buddy-signed-off": signed,
    b"buddy-status-changed": changed,
}.items():
    purple.purple_signal_connect(pointer("blist_get_handle"), signal, handle, callback, None)
if WHAT == "watch":
    buddy = pointer("buddy_new", account, f"sip:{WORD}@example.com".encode(), None)
    purple.purple_blist_add_buddy(buddy, None, None, None)
purple.purple_savedstatus_activate(pointer("savedstatus_new", None, AVAILABLE))
purple.purple_account_set_enabled(account, b"interop", 1)
print("begun", flush=True)
while True:
    while glib.g_main_context_iteration(None, 0):
        pass
    time.sleep(0.02)
