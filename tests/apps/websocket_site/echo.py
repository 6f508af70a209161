"""A WebSocket server and its client: `python echo.py serve [PORT]` prints its port and echoes; `python echo.py talk URL` tries all it
can, `python echo.py wait URL` prints "open" and how the connection ended, `python echo.py talk2 URL` tries it over HTTP/2 (RFC
8441)."""
import os
import socket
import ssl
import sys
import threading
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import serve


def echo(connection):
    for message in connection:
        if message == "close":
            return connection.close(4001, "as asked")
        connection.send(message)


def open_connection(url):
    context = None
    if url.startswith("wss:"):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return connect(url, ssl=context, max_size=None, subprotocols=["chat"], compression="deflate", proxy=None)


def talk(url):
    with open_connection(url) as connection:
        assert connection.subprotocol == "chat", connection.subprotocol
        for text in ["", "hello", "\u00e9" * 1000]:
            connection.send(text)
            assert connection.recv(timeout=20) == text
        assert connection.ping().wait(20)
        # More than all buffers on the way have room for, both ways at once.
        large = [os.urandom(1 << 20) for _ in range(8)]
        sender = threading.Thread(target=lambda: [connection.send(message) for message in large])
        sender.start()
        assert [connection.recv(timeout=60) for _ in large] == large
        sender.join()
        connection.send("close")
        try:
            connection.recv(timeout=20)
        except ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (4001, "as asked"), closed
    print("done")


def wait(url):
    with open_connection(url) as connection:
        connection.send("hello")
        assert connection.recv(timeout=20) == "hello"
        print("open", flush=True)
        try:
            connection.recv()
        except ConnectionClosed as closed:
            print("ended", closed.rcvd, flush=True)


class Stream:
    """A WebSocket on a stream of HTTP/2."""

    def __init__(self, url):
        from h2.config import H2Configuration
        from h2.connection import H2Connection

        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=60)
        if parts.scheme == "wss":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols(["h2"])
            self.socket = context.wrap_socket(self.socket, server_hostname=parts.hostname)
        self.connection, self.came, self.ended = H2Connection(H2Configuration(header_encoding="utf-8")), b"", False
        self.connection.initiate_connection()
        self.step()
        while not self.connection.remote_settings.enable_connect_protocol:
            self.step()
        self.id = self.connection.get_next_available_stream_id()
        head = [(":method", "CONNECT"), (":protocol", "websocket"), (":path", parts.path), (":authority", parts.netloc)]
        head += [(":scheme", "https" if parts.scheme == "wss" else "http"), ("sec-websocket-version", "13")]
        self.connection.send_headers(self.id, head + [("sec-websocket-protocol", "chat")])
        self.head = None
        while self.head is None:
            self.step()
        assert self.head[":status"] == "200" and self.head["sec-websocket-protocol"] == "chat", self.head

    def flush(self):
        self.socket.sendall(self.connection.data_to_send())

    def step(self):
        from h2 import events

        self.flush()
        data = self.socket.recv(65536)
        assert data, "closed"
        for event in self.connection.receive_data(data):
            if isinstance(event, events.ResponseReceived):
                self.head = dict(event.headers)
            elif isinstance(event, events.DataReceived):
                self.came += event.data
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, events.StreamEnded):
                self.ended = True
            assert not isinstance(event, (events.StreamReset, events.ConnectionTerminated)), event
        self.flush()

    def send(self, opcode, payload):
        from websockets.frames import Frame, Opcode

        frame = Frame(Opcode(opcode), payload).serialize(mask=True)
        while frame:
            window = min(self.connection.local_flow_control_window(self.id), self.connection.max_outbound_frame_size)
            if window == 0:
                self.step()
                continue
            self.connection.send_data(self.id, frame[:window])
            frame = frame[window:]
            self.flush()

    def frame(self):
        """Opcode and payload of the next one, which a server does not mask."""
        while True:
            length, start = (self.came[1] if len(self.came) > 1 else 0), 2
            if length == 126:
                length, start = int.from_bytes(self.came[2:4], "big"), 4
            elif length == 127:
                length, start = int.from_bytes(self.came[2:10], "big"), 10
            if len(self.came) >= start + length:
                opcode, payload = self.came[0] & 15, self.came[start : start + length]
                self.came = self.came[start + length :]
                return opcode, payload
            self.step()


def talk2(url):
    stream = Stream(url)
    for text in [b"", b"hello", "\u00e9".encode() * 1000]:
        stream.send(1, text)
        assert stream.frame() == (1, text)
    stream.send(9, b"ping")
    assert stream.frame() == (10, b"ping")
    large = os.urandom(3 << 20)
    stream.send(2, large)
    came = b""
    while len(came) < len(large):
        opcode, payload = stream.frame()
        came += payload
    assert came == large
    stream.send(1, b"close")
    opcode, payload = stream.frame()
    assert (opcode, payload) == (8, (4001).to_bytes(2, "big") + b"as asked"), (opcode, payload)
    stream.send(8, payload)
    while not stream.ended:
        stream.step()
    print("done")


if sys.argv[1] == "serve":
    with serve(echo, "127.0.0.1", int(*sys.argv[2:3]), max_size=None, subprotocols=["chat"]) as server:
        print(server.socket.getsockname()[1], flush=True)
        server.serve_forever()
else:
    {"talk": talk, "talk2": talk2, "wait": wait}[sys.argv[1]](sys.argv[2])
