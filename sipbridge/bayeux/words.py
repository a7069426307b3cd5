"""The words of Bayeux 1.0 that both ends share: versions, meta channels, connection types.

Apart from `messages.py`, which has a JSON library of the server's, so that a client can do without.
"""

VERSION = "1.0"

HANDSHAKE = "/meta/handshake"
CONNECT = "/meta/connect"
SUBSCRIBE = "/meta/subscribe"
UNSUBSCRIBE = "/meta/unsubscribe"
DISCONNECT = "/meta/disconnect"
META = "/meta/"

WEBSOCKET = "websocket"
LONG_POLLING = "long-polling"
CALLBACK_POLLING = "callback-polling"
