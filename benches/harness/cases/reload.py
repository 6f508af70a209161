"""Requests that fail while HUP after HUP comes, files and an application; and while the program itself is replaced."""
import os
import signal
import statistics
import time

from .. import load, measure, report
from ..servers import Server
from . import applications, static

ABOUT = "wrk -c64 with keep-alive while the server is told to reload (HUP) again and again, or to replace its own program (USR2). Every request must be answered."
PROGRAMS = ["wrk", "nginx", "uwsgi"]
PYTHON = True
PARTS = ["static", "app", "upgrade"]


def processes(server):
    return {(one.pid, one.started) for one in server.tree()}


def change(server):
    """Hatchery keeps workers whose configuration did not change: it gets another keep-alive time each time."""
    if server.name == "hatchery":
        conf = server.run / "hatchery.ron"
        text = conf.read_text()
        old, new = ('"10m")', '"11m")') if '"10m")' in text else ('"11m")', '"10m")')
        conf.write_text(text.replace(old, new, 1))


def signals(server, which, count, patience=2.0):
    """Sends signals, each once the tree has new processes and its size again, at the latest after `patience` seconds."""
    size, settled, seen = len(server.tree()), [], processes(server)
    first = len(seen)
    for number in range(count):
        measure.progress("{}: {} {}/{}".format(server.label, which.name[3:], number + 1, count))
        before, began = processes(server), time.monotonic()
        if which == signal.SIGHUP:
            change(server)
        for process in server.processes:
            os.kill(process.pid, which)
        while time.monotonic() - began < patience:
            time.sleep(0.01)
            now = processes(server)
            seen |= now
            if now - before and len(now) == size:
                break
        settled.append(time.monotonic() - began)
        # uWSGI executes itself anew and dies of a HUP that comes in that moment; all get the same rest.
        time.sleep(0.3)
        if not server.alive():
            break
    return settled, len(seen) - first


def under_load(bench, server, path, count, which=signal.SIGHUP):
    """The row of one server: signals while wrk runs; wrk ends shortly after the last."""
    # As long as the signals may take at worst, ended early by asking wrk to finish.
    wrk = load.Wrk(server.url(path), bench.place.run / "wrk.log", seconds=int(count * 2.4) + 5, fields=[("Host", "localhost")])
    time.sleep(0.5)
    settled, replaced = signals(server, which, count)
    time.sleep(0.5)
    os.kill(wrk.process.pid, signal.SIGINT)
    counted = wrk.result()
    died = "" if server.alive() else "; died"
    name = "**{}**".format(server.label) if server.name == "hatchery" else server.label
    errors = ", ".join("{} {}".format(number, kind) for kind, number in counted.errors.items() if number) or "–"
    row = [name, str(count), "{:,}".format(counted.requests), str(counted.failed) + died, str(counted.wrong_status), errors,
           report.time(counted.slowest), str(replaced),
           "{:.0f} ms".format(statistics.median(settled) * 1000)]
    return row, counted.failed + counted.wrong_status, replaced


def section(bench, title, servers, path):
    count, rows, goals = 10 if bench.quick else 100, [], []
    for server in servers:
        row, failed, replaced = under_load(bench, server, path, count)
        rows.append(row)
        if server.name == "hatchery":
            goals.append(report.goal("{}: failed requests in {} HUPs".format(title, count), failed, 0))
            goals.append(report.goal("{}: processes replaced by {} HUPs".format(title, count), replaced, count, more=True))
        server.stop()
    measure.progress(title + ": done", end=True)
    return report.Section(title, "", HEAD, rows, goals)


def upgrades(bench, servers, path):
    """USR2: the running program is replaced, and every worker with it. Of the others only nginx knows something alike,
    in steps taken by hand."""
    count, rows, goals = 3 if bench.quick else 20, [], []
    for server in servers:
        row, failed, replaced = under_load(bench, server, path, count, signal.SIGUSR2)
        rows.append(row)
        goals.append(report.goal("failed requests in {} USR2s".format(count), failed, 0))
        goals.append(report.goal("processes replaced by {} USR2s".format(count), replaced, count, more=True))
        server.stop()
    measure.progress("Upgrades: done", end=True)
    return report.Section("Upgrades in place", "", ["server", "USR2s"] + HEAD[2:], rows, goals)


HEAD = ["server", "HUPs", "requests", "failed", "wrong status", "errors", "slowest", "new processes", "to settle"]


def run(bench):
    static.make_files(bench.place.root)
    sections = []
    if bench.parts(["static"]):
        sections.append(section(bench, "Files", static.start(bench, bench.chosen(["hatchery", "nginx"])), "/1k.txt"))
    if bench.parts(["app"]):
        labels = [label for label in ("hatchery", "nginx + uWSGI", "nginx + gunicorn")
                  if (label == "hatchery" or bench.options.peers is None) and applications.installed(bench, label)]
        app = applications.hello(bench)
        started = [one for one in (applications.start(bench, label, app) for label in labels) if one]
        sections.append(section(bench, "An application", started, app.path))
    if bench.parts(["upgrade"]) and "hatchery" in bench.chosen(["hatchery"]):
        sections.append(upgrades(bench, static.start(bench, ["hatchery"]), "/1k.txt"))
    return sections, ["To settle: from the signal until new processes are there and the old ones gone; the median, 2 s at most.",
                      "wrk counts a connection that is closed under a request as a read error, one that is refused as a connect error."]
