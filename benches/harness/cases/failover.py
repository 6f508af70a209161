"""What clients see of a server that is killed, hangs and comes back, behind hatchery, nginx and haproxy."""
import os
import signal
import time

from .. import load, measure, report
from ..processes import CLIENT_CORES
from ..servers import NotStarted, Server
from . import static

ABOUT = ("wrk -c64 with keep-alive, GET only, through a proxy to three servers (the floor program). One is killed and started again, "
         "another is stopped (SIGSTOP) and goes on. Every request must be answered with 200. Time-outs of 1 s; hatchery and haproxy "
         "check the servers twice a second.")
PROGRAMS = ["wrk", "nginx", "haproxy"]
PEERS = ["nginx", "haproxy"]
PARTS = ["killed", "hung"]
HEAD = ["server", "requests", "failed", "wrong status", "slowest", "until it had its share again"]
# How long a fault lasts.
FAULT = 4.0
# How long a server may take to have its share again: rest, checks and slow start.
RETURN = 25.0


class Three:
    """The servers; which of them answers is seen by the processor time that they take."""

    def __init__(self, bench, label):
        self.all = [Server(bench.place, "limit", "{} {}".format(label, number)) for number in ("one", "two", "three")]
        self.answer = bench.place.root / "1k.txt"
        for server in self.all:
            server.cores = CLIENT_CORES
            server.start_limit("memory", self.answer).ready("/")

    def ports(self):
        return dict(zip(("ONE", "TWO", "THREE"), (server.port for server in self.all)))

    def stop(self):
        for server in self.all:
            for process in server.processes:
                if process.alive():
                    os.kill(process.pid, signal.SIGCONT)
            server.stop()

    def killed(self):
        self.all[1].stop(patience=0, number=signal.SIGKILL)

    def started(self):
        self.all[1].start_limit("memory", self.answer).ready("/")

    def hung(self):
        os.kill(self.all[1].processes[0].pid, signal.SIGSTOP)

    def goes_on(self):
        os.kill(self.all[1].processes[0].pid, signal.SIGCONT)

    def share(self, seconds=0.5):
        """The second server's part of the processor time of all in the next moment."""
        before = [server.cpu() for server in self.all]
        time.sleep(seconds)
        used = [server.cpu() - start for server, start in zip(self.all, before)]
        return used[1] / (sum(used) or 1)


def spread(three):
    """Seconds until the second server has its share, about; None: not in time."""
    began = time.monotonic()
    while time.monotonic() - began < RETURN:
        if three.share() > 0.25:
            return time.monotonic() - began
    return None


def row(bench, name, part):
    three = Three(bench, "{} {}".format(name, part))
    server = Server(bench.place, name)
    try:
        server.start("failover", **three.ports()).ready("/")
    except NotStarted as error:
        three.stop()
        bench.left_out(name, error)
        return None
    wrk = load.Wrk(server.url("/"), bench.place.run / "wrk.log", seconds=int(FAULT + RETURN) + 20)
    time.sleep(2.0)
    bad, good = (three.killed, three.started) if part == "killed" else (three.hung, three.goes_on)
    bad()
    time.sleep(FAULT)
    good()
    back = spread(three)
    os.kill(wrk.process.pid, signal.SIGINT)
    counted = wrk.result()
    server.stop()
    three.stop()
    label = "**{}**".format(server.label) if name == "hatchery" else server.label
    until = "never, in {:.0f} s".format(RETURN) if back is None else "{:.1f} s".format(back)
    cells = [label, "{:,}".format(counted.requests), str(counted.failed), str(counted.wrong_status), report.time(counted.slowest), until]
    return cells, counted, back


def run(bench):
    static.make_files(bench.place.root)
    sections = []
    titles = {"killed": "One of three is killed and comes back", "hung": "One of three hangs and goes on"}
    for part in bench.parts(PARTS):
        rows, goals = [], []
        for name in bench.chosen(["hatchery"] + PEERS):
            measure.progress("{}: {}".format(titles[part], name))
            found = row(bench, name, part)
            if not found:
                continue
            cells, counted, back = found
            rows.append(cells)
            if name == "hatchery":
                goals.append(report.goal(titles[part] + ": requests without a good answer", counted.failed + counted.wrong_status, 0))
                goals.append(report.goal(titles[part] + ": seconds until it had its share again", back or RETURN, 10))
                if part == "hung":
                    goals.append(report.goal("slowest request, in time-outs of 1 s", counted.slowest / 1e6, 1.5))
        measure.progress(titles[part] + ": done", end=True)
        sections.append(report.Section(titles[part], "", HEAD, rows, goals))
    return sections, ["wrk counts a connection that is closed under a request as failed, and an answer other than 200 as a wrong status.",
                      "A fault lasts {:.0f} s. Who answers is seen by the processor time that the three servers take.".format(FAULT)]
