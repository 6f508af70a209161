"""A program: messages of WebSocket to a server that echoes them, one at a time on each of many connections.

    talk.py PORT PATH SECONDS CONNECTIONS

What comes back is the frame that was sent, mask included, if what echoes does so with bytes, and one without a mask if it speaks
WebSocket. Prints one line as `report.lua` does."""
import json
import select
import socket
import sys
import time

# FIN, text; masked; 100 bytes: of a chat.
MASK, TEXT = b"mask", b"x" * 100
MESSAGE = b"\x81\xe4" + MASK + bytes(byte ^ MASK[place % 4] for place, byte in enumerate(TEXT))
# The same without a mask, as a server sends it.
ANSWER = b"\x81\x64" + TEXT
HANDSHAKE = ("GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")


def connect(port, path, source="127.0.0.1"):
    one = socket.create_connection(("127.0.0.1", port), 10.0, (source, 0))
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    one.sendall(HANDSHAKE.format(path).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        got = one.recv(1)
        if not got:
            raise SystemExit("closed instead of a 101: {!r}".format(head))
        head += got
    if not head.startswith(b"HTTP/1.1 101 "):
        raise SystemExit("no 101: {!r}".format(head))
    one.setblocking(False)
    return one


def echoed(one):
    """How long a message is that comes back; one is tried."""
    one.setblocking(True)
    one.sendall(MESSAGE)
    head = one.recv(2, socket.MSG_WAITALL)
    wanted = MESSAGE if head == MESSAGE[:2] else ANSWER
    got = head + one.recv(len(wanted) - len(head), socket.MSG_WAITALL)
    if got != wanted:
        raise SystemExit("no echo: {!r}".format(got))
    one.setblocking(False)
    return len(wanted)


def main():
    port, path, seconds, connections = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    sockets = {one.fileno(): one for one in (connect(port, path) for _ in range(connections))}
    wanted = echoed(next(iter(sockets.values())))
    poll, came, sent, took, failed = select.epoll(), {}, {}, [], 0
    began = time.monotonic()
    for number, one in sockets.items():
        poll.register(number, select.EPOLLIN)
        came[number], sent[number] = 0, time.monotonic()
        one.send(MESSAGE)
    deadline = began + seconds
    while sockets and time.monotonic() < deadline:
        for number, _ in poll.poll(0.1):
            got = sockets[number].recv(4096)
            if not got:
                failed += 1
                poll.unregister(number)
                sockets.pop(number).close()
                continue
            came[number] += len(got)
            if came[number] >= wanted:
                now = time.monotonic()
                took.append(int((now - sent[number]) * 1e6))
                came[number], sent[number] = 0, now
                sockets[number].send(MESSAGE)
    ended = time.monotonic()
    took.sort()
    at = lambda part: took[min(int(len(took) * part), len(took) - 1)] if took else 0
    print("COUNTED " + json.dumps({
        "requests": len(took), "microseconds": int((ended - began) * 1e6), "connect": 0, "read": failed, "write": 0,
        "timeout": 0, "status": 0, "p50": at(0.5), "p99": at(0.99), "max": at(1)}))


if __name__ == "__main__":
    main()
