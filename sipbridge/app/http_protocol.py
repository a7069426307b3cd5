"""HTTP as uvicorn speaks it, with our words for bytes that are no request at all.

Whatever cannot be parsed (a broken request line, an address longer than 64 KiB) never reaches a route; it
gets the same kind of fault as everything else that is wrong.
"""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sipbridge.rest.exchange import request_id
from sipbridge.rest.faults import Fault, render

HEAD = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
    b"x-request-id: %b\r\nconnection: close\r\n\r\n"
)


class HttpProtocol(HttpToolsProtocol):
    """One HTTP connection."""

    def send_400_response(self, msg: str) -> None:
        trace = request_id({})
        body = render(Fault(400, "SVC0002", ("request",), msg), trace)
        self.transport.write(HEAD % (len(body), trace.encode()) + body)
        self.transport.close()
