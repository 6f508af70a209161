"""Requests that fail while HUP after HUP comes, files and an application."""
import os
import signal
import time

from .. import load, measure, report
from ..servers import Server
from . import applications, static

ABOUT = "wrk -c64 with keep-alive while the server is told to reload (HUP) again and again. Every request must be answered."
PROGRAMS = ["wrk", "nginx", "uwsgi"]
PYTHON = True
PARTS = ["static", "app"]


def hups(server, count, pause):
    """Sends HUPs, each once the tree has settled from the one before; returns how long the settling took at most."""
    slowest = 0.0
    for number in range(count):
        measure.progress("{}: HUP {}/{}".format(server.label, number + 1, count))
        before = {(one.pid, one.started) for one in server.tree()[1:]}
        for process in server.processes:
            os.kill(process.pid, signal.SIGHUP)
        began = time.monotonic()
        time.sleep(pause)
        # Replaced or not (nothing changed): wait no longer than two seconds for the tree to have its size again.
        while time.monotonic() - began < 2 and len(server.tree()) != len(before) + len(server.processes):
            time.sleep(0.02)
        slowest = max(slowest, time.monotonic() - began)
        if not server.alive():
            break
    return slowest


def under_load(bench, server, path, count, pause):
    """The row of one server: HUPs while wrk runs; wrk ends shortly after the last."""
    # As long as the HUPs may take at worst, ended early by asking wrk to finish.
    wrk = load.Wrk(server.url(path), bench.place.run / "wrk.log", seconds=int(count * 2.1) + 5, fields=[("Host", "localhost")])
    time.sleep(0.5)
    slowest = hups(server, count, pause)
    time.sleep(0.5)
    os.kill(wrk.process.pid, signal.SIGINT)
    counted = wrk.result()
    died = "" if server.alive() else "; died"
    name = "**{}**".format(server.label) if server.name == "hatchery" else server.label
    errors = ", ".join("{} {}".format(number, kind) for kind, number in counted.errors.items() if number) or "–"
    row = [name, str(count), "{:,}".format(counted.requests), str(counted.failed) + died, str(counted.wrong_status), errors,
           report.time(counted.slowest), "{:.0f} ms".format(slowest * 1000)]
    return row, counted.failed + counted.wrong_status


def section(bench, title, servers, path, pause):
    count, rows, goals = 10 if bench.quick else 100, [], []
    for server in servers:
        row, failed = under_load(bench, server, path, count, pause)
        rows.append(row)
        if server.name == "hatchery":
            goals.append(report.goal("{}: failed requests in {} HUPs".format(title, count), failed, 0))
        server.stop()
    measure.progress(title + ": done", end=True)
    head = ["server", "HUPs", "requests", "failed", "wrong status", "errors", "slowest", "longest HUP"]
    return report.Section(title, "", head, rows, goals)


def run(bench):
    static.make_files(bench.place.root)
    sections = []
    if bench.parts(["static"]):
        sections.append(section(bench, "Files", static.start(bench, bench.chosen(["hatchery", "nginx"])), "/1k.txt", 0.15))
    if bench.parts(["app"]):
        labels = [label for label in ("hatchery", "nginx + uWSGI", "nginx + gunicorn")
                  if (label == "hatchery" or bench.options.peers is None) and applications.installed(bench, label)]
        app = applications.hello(bench)
        started = [one for one in (applications.start(bench, label, app) for label in labels) if one]
        sections.append(section(bench, "An application", started, app.path, 0.5))
    return sections, ["wrk counts a connection that is closed under a request as a read error, one that is refused as a connect error."]
