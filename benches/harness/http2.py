"""HTTP/2 by hand: connections that have served one request and stay open."""
import socket
import struct

from . import client, secure

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS = 0, 1, 4
ACK = END_STREAM = 1
END_HEADERS = 4


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def get(path, secured):
    """Preface, settings and a request; its fields are literals or of the static table (RFC 7541, appendix A)."""
    host = b"localhost"
    block = b"\x82" + (b"\x87" if secured else b"\x86") + b"\x04" + bytes([len(path)]) + path.encode() + b"\x41" + bytes([len(host)]) + host
    return PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS | END_STREAM, 1, block)


class Connection:
    """Over TLS with a context, else from prior knowledge."""

    def __init__(self, port, path, context=None):
        self.socket = socket.create_connection(("127.0.0.1", port), 20.0)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
            if self.socket.selected_alpn_protocol() != "h2":
                raise client.Broken("the server does not speak HTTP/2")
        self.rest = b""
        self.socket.sendall(get(path, bool(context)))
        while not self.answered():
            pass
        self.socket.sendall(frame(SETTINGS, ACK, 0))

    def take(self, count):
        while len(self.rest) < count:
            got = self.socket.recv(1 << 16)
            if not got:
                raise client.Broken("closed in the middle of a frame")
            self.rest += got
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def answered(self):
        """Takes a frame; whether it was the last of the answer."""
        head = self.take(9)
        kind, flags, stream = head[3], head[4], struct.unpack(">I", head[5:])[0]
        self.take(struct.unpack(">I", b"\0" + head[:3])[0])
        if kind not in (DATA, HEADERS, SETTINGS, 8):
            raise client.Broken("a frame of type {}".format(kind))
        return stream == 1 and bool(flags & END_STREAM) and kind in (DATA, HEADERS)

    def close(self):
        self.socket.close()


def idle_connections(port, path, count, secured):
    context = secure.context("h2") if secured else None
    return [Connection(port, path, context) for _ in range(count)]
