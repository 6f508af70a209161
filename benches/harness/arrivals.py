"""Requests that come when they come, not when others are answered: Poisson arrivals, and the ideal to compare with.

A latency counts from when a request was sent, which waits for no answer. How late that was is told too: it is this client's fault."""
import collections
import heapq
import random
import select
import socket
import time

from . import client

Request = collections.namedtuple("Request", "at milliseconds")


def plan(seed, rate, seconds, mix):
    """When requests come and how long each takes; `mix` has pairs of share and milliseconds."""
    draw, at, planned = random.Random(seed), 0.0, []
    while True:
        at += draw.expovariate(rate)
        if at >= seconds:
            return planned
        part = draw.random()
        for share, milliseconds in mix:
            part -= share
            if part < 0:
                break
        planned.append(Request(at, milliseconds))


def ideal(arrivals, takes, servers):
    """Latencies in seconds of one queue, first in, first out, in front of so many servers without any cost (M/G/n)."""
    free, latencies = [0.0] * servers, []
    for at, seconds in zip(arrivals, takes):
        ends = max(heapq.heappop(free), at) + seconds
        heapq.heappush(free, ends)
        latencies.append(ends - at)
    return latencies


class Kept:
    """A connection, and the request that waits on it for its answer."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 10.0)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.number, self.came = None, b""

    def body(self):
        """The body of a 200 once it is whole; None before."""
        try:
            got = self.socket.recv(65536)
        except BlockingIOError:
            return None
        if not got:
            raise client.Broken("closed under a request")
        self.came += got
        head, whole, body = self.came.partition(b"\r\n\r\n")
        if not whole:
            return None
        if not head.startswith(b"HTTP/1.1 200"):
            raise client.Broken("no 200")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        if len(body) < length:
            return None
        self.came = b""
        return body


class Drive:
    """Sends what is planned on kept connections, as many as it takes; they take turns."""

    def __init__(self, port, planned, connections=64):
        self.port, self.planned, self.poll, self.idle, self.busy = port, planned, select.epoll(), collections.deque(), {}
        self.sent, self.latencies, self.bodies = [None] * len(planned), [None] * len(planned), [None] * len(planned)
        self.failed = 0
        for _ in range(connections):
            self.idle.append(self.connect())

    def connect(self):
        kept = Kept(self.port)
        self.poll.register(kept.socket.fileno(), select.EPOLLIN)
        return kept

    def send(self, number, began):
        kept = self.idle.popleft() if self.idle else self.connect()
        kept.number = number
        self.busy[kept.socket.fileno()] = kept
        self.sent[number] = time.monotonic() - began
        kept.socket.send(client.request("/?{}".format(self.planned[number].milliseconds)))

    def receive(self, descriptor, now):
        kept = self.busy.get(descriptor)
        if kept is None:
            # An idle one that was closed.
            self.drop(next(one for one in self.idle if one.socket.fileno() == descriptor))
            return
        try:
            body = kept.body()
        except (OSError, client.Broken):
            self.failed += 1
            del self.busy[descriptor]
            self.drop(kept)
            return
        if body is not None:
            self.latencies[kept.number], self.bodies[kept.number] = now - self.sent[kept.number], body
            self.idle.append(self.busy.pop(descriptor))

    def drop(self, kept):
        if kept in self.idle:
            self.idle.remove(kept)
        kept.socket.close()

    def run(self, patience=20.0):
        """All of it; what is not answered in the end has failed."""
        began, number = time.monotonic() + 0.1, 0
        while number < len(self.planned) or self.busy:
            now = time.monotonic() - began
            while number < len(self.planned) and self.planned[number].at <= now:
                self.send(number, began)
                number += 1
            # epoll knows milliseconds only, and rounds up: the last one is spent turning.
            due = self.planned[number].at - now if number < len(self.planned) else 0.1
            for descriptor, _ in self.poll.poll(int(max(due, 0) * 1000) / 1000):
                self.receive(descriptor, time.monotonic() - began)
            if now > (self.planned[-1].at if self.planned else 0) + patience:
                break
        self.failed += len(self.busy)
        for kept in list(self.idle) + list(self.busy.values()):
            kept.socket.close()
        self.poll.close()
        return self
