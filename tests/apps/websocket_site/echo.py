"""A WebSocket server and its client: `python echo.py serve` prints its port and echoes; `python echo.py talk URL` tries all it
can, `python echo.py wait URL` prints "open" and how the connection ended."""
import os
import ssl
import sys
import threading

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


if sys.argv[1] == "serve":
    with serve(echo, "127.0.0.1", 0, max_size=None, subprotocols=["chat"]) as server:
        print(server.socket.getsockname()[1], flush=True)
        server.serve_forever()
else:
    {"talk": talk, "wait": wait}[sys.argv[1]](sys.argv[2])
