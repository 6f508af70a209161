"""A flood from ten thousand addresses at ten times what an app can do, with a limit for each client: who else comes, and waits how long?"""
import itertools
import os
import sys
import time

from .. import arrivals, client, load, measure, report
from ..servers import Server
from . import applications
from .mixed import at

ABOUT = "One worker and {} processes of an app whose view takes 2 ms on one core; the flood and the visitors on the other."
PROCESSES, MILLISECONDS = 4, 2
ABOUT = ABOUT.format(PROCESSES)
PROGRAMS = ["wrk"]
PARTS = ["visitors"]
VISITORS, CAPACITY = 100, PROCESSES * 1000 / MILLISECONDS
# Until each address has had its first request, and the queue behind it is gone.
WARM = 12
HEAD = ["visitors", "requests", "p50", "p99", "slowest", "failed", "flood, requests/s", "PSS of the tree"]


class Visitors(arrivals.Drive):
    """Each request is that of another client, who comes for the first time."""

    numbers = itertools.count()

    def send(self, number, began):
        kept = self.idle.popleft() if self.idle else self.connect()
        kept.number = number
        self.busy[kept.socket.fileno()] = kept
        self.sent[number] = time.monotonic() - began
        one = next(self.numbers)
        address = "203.{}.{}.{}".format(one >> 16 & 255, one >> 8 & 255, one & 255)
        kept.socket.send(client.request("/?{}".format(MILLISECONDS), fields=[("X-Forwarded-For", address)]))


def visits(bench, server, seed):
    driven = Visitors(server.port, arrivals.plan(seed, VISITORS, 5 if bench.quick else 15, [(1.0, MILLISECONDS)])).run()
    return [one for one in driven.latencies if one is not None], driven.failed


def run(bench):
    app = applications.single(bench, "naps", "/")
    server = Server(bench.place, "hatchery")
    # One that every user can run.
    python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
    server.start("flood", APP=app.directory, PROCESSES=PROCESSES, PYTHON=python).ready("/?1", wanted=200, fields=[("X-Forwarded-For", "192.0.2.1")])
    visits(bench, server, 0)
    quiet, failed = visits(bench, server, 1)
    before = server.pss()
    seconds = WARM + (7 if bench.quick else 20)
    flood = load.Wrk(server.url("/?2"), bench.place.run / "flood.log", 64, seconds, script="flood.lua")
    time.sleep(WARM)
    measure.progress("flood: visitors come")
    loud, failed_then = visits(bench, server, 2)
    during = server.pss()
    counted = flood.result()
    server.stop()
    rate = counted.requests / counted.seconds
    rows = [line("without the flood", quiet, failed, "–", before), line("during the flood", loud, failed_then, "{:,.0f}".format(rate), during)]
    goals = [
        report.goal("flood: × what the app can do", rate / CAPACITY, 10.0, more=True),
        report.goal("visitors: p99 × without the flood", at(loud, 0.99) / at(quiet, 0.99), 2.0),
        report.goal("visitors: failed", failed_then, 0),
        report.goal("memory: added", (during - before) / 1e6, 8.0, " MB"),
    ]
    text = ("{} visitors a second, each once and with an address of its own; the flood has 10,000 addresses, of which each may ask once a minute. "
            "The processes can answer {:,.0f} requests a second.").format(VISITORS, CAPACITY)
    return [report.Section("Visitors during a flood", text, HEAD, rows, goals)], [
        "Addresses are those that a trusted proxy tells. The flood has begun {} s before the visitors come.".format(WARM)]


def line(name, latencies, failed, rate, pss):
    return [name, "{:,}".format(len(latencies))] + [report.time(at(latencies, part)) for part in (0.5, 0.99, 1)] + [
        str(failed), rate, report.megabytes(pss)]
