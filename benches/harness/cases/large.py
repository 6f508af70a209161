"""Large uploads and downloads through Django: how fast, and does the worker grow? Part of the case load."""
import socket
import statistics
import time

from .. import client, measure, report
from ..processes import peak, reset_peak, rollup
from . import applications

PEERS = ["nginx + uWSGI"]
MIB = 1 << 20
HEAD = ["server", "upload", "download", "CPU ms/GiB up", "down", "worker's peak before", "after", "worker's PSS before", "after", "app's peak after"]


def connect(server):
    one = socket.create_connection(("127.0.0.1", server.port), 120.0)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one


def upload(server, size):
    """Sends so many bytes; the application must have read them all."""
    piece = bytes(MIB)
    with connect(server) as one:
        one.sendall(client.request("/upload", "POST", [("Content-Length", size), ("Connection", "close")], host="localhost"))
        for _ in range(size // MIB):
            one.sendall(piece)
        answer = b""
        while True:
            got = one.recv(65536)
            if not got:
                break
            answer += got
    if not answer.startswith(b"HTTP/1.1 200") or "\n{}\n".format(size).encode() not in answer:
        raise SystemExit("{} does not take {} bytes:\n{!r}".format(server.label, size, answer[:300]))


def download(server, size):
    room = memoryview(bytearray(MIB))
    with connect(server) as one:
        one.sendall(client.request("/download?{}".format(size), fields=[("Connection", "close")], host="localhost"))
        head = b""
        while b"\r\n\r\n" not in head:
            got = one.recv(65536)
            if not got:
                break
            head += got
        head, _, rest = head.partition(b"\r\n\r\n")
        came = len(rest)
        while came < size:
            got = one.recv_into(room)
            if not got:
                break
            came += got
    if not head.startswith(b"HTTP/1.1 200") or came != size:
        raise SystemExit("{} gives {} bytes instead of {}:\n{!r}".format(server.label, came, size, head[:300]))


def timed(server, transfer, size):
    """Bytes a second, and CPU in milliseconds a GiB."""
    before, began = server.cpu(), time.monotonic()
    transfer(server, size)
    took = time.monotonic() - began
    return size / took, (server.cpu() - before) * 1e3 / size * (1 << 30)


class Measured:
    """One server: its transfers, and what its worker weighed before and after."""

    def __init__(self, server):
        self.server, self.up, self.down = server, [], []
        # What they grow to with a transfer of any size they may keep.
        for transfer in (upload, download):
            transfer(server, 16 * MIB)
        self.worker, self.app = applications.front(server), applications.app_processes(server)[0].pid
        self.before = self.weight()
        reset_peak(self.worker)

    def weight(self):
        return peak(self.worker), rollup(self.worker, "Pss")

    def round(self, size):
        self.up.append(timed(self.server, upload, size))
        self.down.append(timed(self.server, download, size))

    def ended(self):
        self.after, self.app_peak = self.weight(), peak(self.app)
        self.server.stop()

    def speed(self, samples):
        return statistics.median(rate for rate, _ in samples)

    def line(self):
        own = self.server.name == "hatchery"
        weights = (self.before[0], self.after[0], self.before[1], self.after[1], self.app_peak)
        return (["**hatchery**" if own else self.server.label] + ["{:,.0f} MB/s".format(self.speed(one) / 1e6) for one in (self.up, self.down)]
                + ["{:,.0f}".format(statistics.median(cpu for _, cpu in one)) for one in (self.up, self.down)]
                + [report.megabytes(one) for one in weights])


def section(bench):
    app, size, rounds = applications.single(bench, "large", "/download?6"), (64 if bench.quick else 1024) * MIB, 1 if bench.quick else 3
    measured = [Measured(server) for server in applications.start_all(bench, applications.wanted(bench, PEERS), app)]
    for number in range(rounds):
        for one in measured:
            measure.progress("large: round {}/{} {}".format(number + 1, rounds, one.server.label))
            one.round(size)
    for one in measured:
        one.ended()
    measure.progress("large: done", end=True)
    text = ("{} MiB up and down, one connection, the median of {}; the application reads and gives pieces of 64 KiB. Before: after 16 MiB each "
            "way; the peak is that of its resident memory until then, and since.").format(size // MIB, rounds)
    return report.Section("Large bodies through Django", text, HEAD, [one.line() for one in measured], goals(measured))


def goals(measured):
    by_name = {one.server.name: one for one in measured}
    own, other, found = by_name.get("hatchery"), by_name.get("uwsgi"), []
    if own and other:
        for title, of in (("upload", lambda one: one.up), ("download", lambda one: one.down)):
            found.append(report.goal("large {}: speed × {}".format(title, other.server.label), own.speed(of(own)) / other.speed(of(other)),
                                     1.0, more=True))
    if own:
        found.append(report.goal("large bodies: the worker's peak grows by", (own.after[0] - own.before[0]) / 1e6, 1, " MB"))
    return found
