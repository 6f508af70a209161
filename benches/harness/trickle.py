"""A program: many clients that are slow to send a request and to take what is answered, until it is told to end (TERM).

    trickle.py PORT CLIENTS BODY PIECE STEP RAMP [head]

Each sends a POST with BODY bytes, PIECE of them every STEP seconds, then takes ten times as much of the answer every STEP seconds,
and begins anew. They begin one after the other, over RAMP seconds. With `head` every other one is as slow with its head, without an end.
Nobody waits: a client acts at its time and goes on. Prints one line of JSON at the end."""
import heapq
import json
import pathlib
import signal
import socket
import sys
import time

# As a program its folder is looked for modules, not the package.
sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)
from harness import client  # noqa: E402


class Slow:
    """One client; `act` does what is due and no more."""

    def __init__(self, port, body, piece, endless):
        # Room for two pieces of the answer: the rest of it waits in the server, not here.
        self.port, self.piece, self.room = port, piece, 20 * piece
        fields = [("X-Slow", "x" * body)] if endless else [("Content-Length", body)]
        head = client.request("/", "POST", fields, host="localhost")
        # With the first piece goes the head, unless that is what is slow.
        self.request, self.first = (head, piece) if endless else (head + b"x" * body, len(head) + piece)
        self.socket = None

    def connect(self):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.room)
        self.socket.setblocking(False)
        self.socket.connect_ex(("127.0.0.1", self.port))
        self.begin()

    def begin(self):
        self.sent, self.head, self.left = 0, b"", None

    def act(self):
        """Whether a whole answer has come with this. An error of the system when the server has broken off."""
        if self.socket is None:
            self.connect()
        if self.sent < len(self.request):
            end = self.sent + self.piece if self.sent else self.first
            self.sent += self.socket.send(self.request[self.sent:end])
            return False
        return self.take(10 * self.piece)

    def take(self, count):
        got = self.socket.recv(count)
        if not got:
            raise OSError("closed")
        if self.left is None:
            self.head += got
            head, whole, got = self.head.partition(b"\r\n\r\n")
            if not whole:
                return False
            if not head.startswith(b"HTTP/1.1 200"):
                raise OSError("no 200")
            self.left = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        self.left -= len(got)
        if self.left > 0:
            return False
        self.begin()
        return True

    def close(self):
        if self.socket is not None:
            self.socket.close()
            self.socket = None


class Ended(Exception):
    pass


def ended(number, frame):
    raise Ended


def run(clients, step, ramp, counts):
    began = time.monotonic()
    due = [(began + ramp * number / len(clients), number) for number in range(len(clients))]
    while True:
        at, number = heapq.heappop(due)
        now = time.monotonic()
        if at > now:
            time.sleep(at - now)
        counts["late"] = max(counts["late"], now - at)
        one = clients[number]
        try:
            counts["begun"] += one.socket is None
            counts["answered"] += one.act()
        except BlockingIOError:
            # The server takes no more for now, gives nothing, or has not accepted it yet: another time.
            counts["waited"] += 1
        except OSError:
            counts["cut"] += 1
            one.close()
        heapq.heappush(due, (at + step, number))


def main():
    port, number, body, piece = (int(one) for one in sys.argv[1:5])
    step, ramp, heads = float(sys.argv[5]), float(sys.argv[6]), sys.argv[7:] == ["head"]
    counts = {"begun": 0, "answered": 0, "waited": 0, "cut": 0, "late": 0.0}
    signal.signal(signal.SIGTERM, ended)
    clients = [Slow(port, body, piece, heads and bool(place % 2)) for place in range(number)]
    try:
        run(clients, step, ramp, counts)
    except Ended:
        counts["open"] = sum(one.socket is not None for one in clients)
        print(json.dumps(counts))


if __name__ == "__main__":
    main()
