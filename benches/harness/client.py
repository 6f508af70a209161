"""Requests by hand: for checks, for exact numbers of requests, and for connections that stay idle."""
import collections
import hashlib
import socket

Answer = collections.namedtuple("Answer", "status fields body")


class Broken(Exception):
    """An answer that is not whole."""


def request(path, method="GET", fields=(), host="127.0.0.1"):
    lines = ["{} {} HTTP/1.1".format(method, path), "Host: " + host] + ["{}: {}".format(*field) for field in fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Connection:
    """One connection that is kept."""

    def __init__(self, port, timeout=10.0, context=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.rest = b""

    def more(self):
        got = self.socket.recv(1 << 18)
        if not got:
            raise Broken("the connection was closed in the middle of an answer")
        self.rest += got

    def take(self, count):
        parts, have = [self.rest], len(self.rest)
        while have < count:
            got = self.socket.recv(min(1 << 20, count - have + 4096))
            if not got:
                raise Broken("the connection was closed in the middle of a body")
            parts.append(got)
            have += len(got)
        whole = b"".join(parts)
        self.rest = whole[count:]
        return whole[:count]

    def answer(self, method="GET"):
        while b"\r\n\r\n" not in self.rest:
            self.more()
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1])
        fields = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            fields[name.strip().lower()] = value.strip()
        if method == "HEAD" or status in (204, 304):
            return Answer(status, fields, b"")
        if "chunked" in fields.get("transfer-encoding", ""):
            return Answer(status, fields, self.chunks())
        if "content-length" in fields:
            return Answer(status, fields, self.take(int(fields["content-length"])))
        raise Broken("an answer without a length")

    def line(self):
        while b"\r\n" not in self.rest:
            self.more()
        line, self.rest = self.rest.split(b"\r\n", 1)
        return line

    def chunks(self):
        parts = []
        while True:
            size = int(self.line().split(b";")[0], 16)
            if not size:
                while self.line():
                    pass
                return b"".join(parts)
            parts.append(self.take(size))
            self.line()

    def get(self, path, **more):
        self.socket.sendall(request(path, **more))
        return self.answer(more.get("method", "GET"))

    def close(self):
        self.socket.close()


def get(port, path, context=None, **more):
    connection = Connection(port, context=context)
    try:
        return connection.get(path, **more)
    finally:
        connection.close()


def digest(body):
    return hashlib.sha256(body).hexdigest()


def ask(port, path, count):
    """Exactly so many requests, one after the other on one connection."""
    connection, wanted = Connection(port, timeout=60.0), request(path)
    try:
        for _ in range(count):
            connection.socket.sendall(wanted)
            connection.answer()
    finally:
        connection.close()


def idle_connections(port, path, count, context=None):
    """So many connections that have served one request each and stay open."""
    wanted, kept = request(path), []
    for _ in range(count):
        connection = Connection(port, timeout=20.0, context=context)
        connection.socket.sendall(wanted)
        connection.answer()
        kept.append(connection)
    return kept
