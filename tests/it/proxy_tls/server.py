"""A server of HTTP/1.1 in TLS: server.py OPTIONS, a JSON object. Prints its port once it listens."""

import json
import hashlib
import socket
import ssl
import struct
import sys
import threading

options = json.loads(sys.argv[1])
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(options["cert"] + ".pem", options["cert"] + ".key")
if "clients" in options:
    context.load_verify_locations(options["clients"])
    context.verify_mode = ssl.CERT_REQUIRED
if "only" in options:
    context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, options["only"])
if "tickets" in options:
    context.num_tickets = options["tickets"]
asked = threading.local()
context.sni_callback = lambda stream, name, _: setattr(asked, "name", name)
context.set_alpn_protocols(["h2", "http/1.1"])


def field(head, name):
    for line in head[1:]:
        if line.lower().startswith(name + ":"):
            return line.split(":", 1)[1].strip()


class Connection:
    def __init__(self, stream, number):
        self.stream, self.number, self.come, self.requests = stream, number, b"", 0

    def more(self):
        piece = self.stream.recv(65536)
        self.come += piece
        return bool(piece)

    def exactly(self, length):
        while len(self.come) < length and self.more():
            pass
        taken, self.come = self.come[:length], self.come[length:]
        return taken

    def head(self):
        while b"\r\n\r\n" not in self.come:
            if not self.more():
                return None
        head, self.come = self.come.split(b"\r\n\r\n", 1)
        return head.decode("latin-1").split("\r\n")

    def body(self, head):
        if field(head, "transfer-encoding") != "chunked":
            return self.exactly(int(field(head, "content-length") or 0))
        body = b""
        while True:
            while b"\r\n" not in self.come and self.more():
                pass
            size, self.come = self.come.split(b"\r\n", 1)
            body += self.exactly(int(size, 16))
            self.exactly(2)
            if int(size, 16) == 0:
                return body

    def say(self, body, status="200 OK"):
        head = "HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        self.stream.sendall(head.encode() + body)

    def serve_scgi(self):
        while b":" not in self.come and self.more():
            pass
        length, self.come = self.come.split(b":", 1)
        variables = self.exactly(int(length))
        self.stream.sendall(b"Status: 200 OK\r\n\r\n" + variables)
        self.stream.unwrap()

    def serve(self):
        while head := self.head():
            path, body = head[0].split()[1], self.body(head)
            self.requests += 1
            if field(head, "upgrade"):
                self.stream.sendall(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
                while self.come or self.more():
                    self.stream.sendall(self.come)
                    self.come = b""
                return self.stream.unwrap()
            if path == "/echo":
                self.say(body)
            elif path == "/hash":
                self.say(hashlib.sha256(body).hexdigest().encode())
            elif path in ("/cut", "/ended"):
                self.stream.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 50000)
                return path == "/cut" or self.stream.unwrap()
            elif path == "/last":
                self.say(b"last")
                return self.stream.unwrap()
            elif path == "/reset":
                self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            else:
                shown = self.stream.getpeercert() or {}
                names = [value for part in shown.get("subject", ()) for key, value in part]
                self.say(json.dumps({
                    "connection": self.number,
                    "request": self.requests,
                    "name": getattr(asked, "name", None),
                    "version": self.stream.version(),
                    "resumed": self.stream.session_reused,
                    "protocol": self.stream.selected_alpn_protocol(),
                    "client": " ".join(names),
                    "first": self.first,
                }).encode())


def serve(plain, number):
    first = b""
    try:
        while options.get("header") and not first.endswith(b"\r\n"):
            first += plain.recv(1)
        plain.settimeout(60)
        with context.wrap_socket(plain, server_side=True) as stream:
            connection = Connection(stream, number)
            connection.first = first.decode()
            connection.serve_scgi() if "scgi" in options else connection.serve()
    except (OSError, ValueError) as error:
        print(type(error).__name__, error, file=sys.stderr)
    finally:
        plain.close()


if "unix" in options:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(options["unix"])
else:
    listener = socket.socket()
    listener.bind(("127.0.0.1", options.get("port", 0)))
listener.listen(128)
print(0 if "unix" in options else listener.getsockname()[1], flush=True)
number = 0
while True:
    plain, _ = listener.accept()
    threading.Thread(target=serve, args=(plain, number), daemon=True).start()
    number += 1
