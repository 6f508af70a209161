"""A program: new TLS 1.3 connections to a server, with one request on each, from several processes at once.

    handshakes.py PORT PATH SECONDS PROCESSES full|resumed

wrk keeps its connections, and `openssl s_time` takes no ticket of TLS 1.3. With `resumed` each process shows the ticket of
its connection before; one that is not taken counts as failed. Prints one line as `report.lua` does."""
import json
import os
import pathlib
import socket
import ssl
import sys
import time

# As a program its folder is looked for modules, not the package.
sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)
from harness import client, secure  # noqa: E402


def connect(context, port, path, session):
    """One connection; its session and whether it was resumed."""
    with socket.create_connection(("127.0.0.1", port), 10.0) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(plain, server_hostname="localhost", session=session) as one:
            one.sendall(client.request(path, fields=[("Connection", "close")], host="localhost"))
            answer = b""
            while True:
                try:
                    got = one.recv(16384)
                except (ssl.SSLEOFError, ConnectionResetError):
                    got = b""
                if not got:
                    break
                answer += got
            if not answer.startswith(b"HTTP/1.1 200 "):
                raise OSError("no 200: {!r}".format(answer[:40]))
            return one.session, one.session_reused


def run(port, path, seconds, resumes):
    """What one process counts: requests, failures, and how long each took in microseconds."""
    context, session, failed, took = secure.context("http/1.1", least=ssl.TLSVersion.TLSv1_3), None, 0, []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        began = time.monotonic()
        try:
            kept, reused = connect(context, port, path, session)
            failed += bool(session) and not reused
            session = kept if resumes else None
        except OSError:
            failed += 1
            session = None
            continue
        took.append(int((time.monotonic() - began) * 1e6))
    return {"failed": failed, "took": took}


def main():
    port, path, seconds, processes, kind = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
    pipes, began = [], time.monotonic()
    for _ in range(processes):
        hear, tell = os.pipe()
        if not os.fork():
            with os.fdopen(tell, "w") as out:
                json.dump(run(port, path, seconds, kind == "resumed"), out)
            os._exit(0)
        os.close(tell)
        pipes.append(hear)
    counts = []
    for hear in pipes:
        with os.fdopen(hear) as source:
            counts.append(json.load(source))
    took = sorted(one for count in counts for one in count["took"])
    at = lambda part: took[min(int(len(took) * part), len(took) - 1)] if took else 0
    print("COUNTED " + json.dumps({
        "requests": len(took), "microseconds": int((time.monotonic() - began) * 1e6), "connect": sum(one["failed"] for one in counts),
        "read": 0, "write": 0, "timeout": 0, "status": 0, "p50": at(0.5), "p99": at(0.99), "max": at(1)}))


if __name__ == "__main__":
    main()
