"""A program: WebSockets that are opened and stay idle, until it is told to end (TERM).

    rest.py PORT PATH COUNT

Pings are answered, or a server would close what is idle. Says OPEN when all are, and prints one line of JSON at the end."""
import json
import select
import signal
import sys

import talk

PING, CLOSE = 0x89, 0x88
# Of so many addresses there are ports enough for any number of connections.
SOURCES = ["127.0.0.{}".format(number) for number in range(2, 10)]


class Ended(Exception):
    pass


def ended(number, frame):
    raise Ended


def answer(one, counts):
    """Takes what a server says to a client that says nothing: pings, which come whole. Whether it goes on."""
    got = one.recv(4096)
    while len(got) >= 2 and len(got) >= 2 + got[1] and got[0] == PING:
        # A mask of zeros leaves the bytes as they are.
        one.send(bytes([0x8a, 0x80 | got[1]]) + bytes(4) + got[2:2 + got[1]])
        counts["pings"] += 1
        got = got[2 + got[1]:]
        if not got:
            return True
    counts["closed"] += 1
    return False


def serve(sockets, poll, seconds, counts):
    for number, _ in poll.poll(seconds):
        if not answer(sockets[number], counts):
            poll.unregister(number)
            sockets.pop(number).close()


def main():
    port, path, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    sockets, poll, counts = {}, select.epoll(), {"opened": 0, "closed": 0, "pings": 0}
    signal.signal(signal.SIGTERM, ended)
    try:
        for place in range(count):
            one = talk.connect(port, path, SOURCES[place % len(SOURCES)])
            sockets[one.fileno()] = one
            poll.register(one.fileno(), select.EPOLLIN)
            counts["opened"] += 1
            if place % 64 == 0:
                serve(sockets, poll, 0, counts)
        print("OPEN", flush=True)
        while True:
            serve(sockets, poll, 1, counts)
    except Ended:
        print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main()
