"""How long a client waits when something must first be started: a dead worker, a cheap one, a sleeping application."""
import os
import signal
import statistics
import time

from .. import client, measure, report
from ..processes import Process
from ..servers import Server
from . import applications, static

ABOUT = "Milliseconds from the cause to the last byte of a small answer, Hatchery alone, medians."
PROGRAMS = ["wrk"]
PYTHON = True
PARTS = ["death", "cheap", "app"]


def workers(server):
    return [one for one in server.tree() if one.parent == server.processes[0].pid]


def asleep(server, size, seconds=15):
    """Until the tree has shrunk to so many processes."""
    deadline = time.monotonic() + seconds
    while len(server.tree()) > size:
        if time.monotonic() > deadline:
            raise SystemExit("{} does not fall asleep".format(server.label))
        time.sleep(0.02)


def timed(server, path, **more):
    began = time.monotonic()
    client.get(server.port, path, **more)
    return (time.monotonic() - began) * 1000


def death(bench, count):
    """kill -9 of the only worker, then a request at once; a new tree each time, for the second death would wait."""
    times = []
    for _ in range(count):
        server = Server(bench.place, "hatchery").start("static")
        server.ready("/1k.txt")
        victim = workers(server)[0].pid
        began = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        # Until a new worker has answered: the dying one may still take the connection with it.
        while True:
            try:
                client.get(server.port, "/1k.txt")
                break
            except (OSError, client.Broken):
                continue
        times.append((time.monotonic() - began) * 1000)
        server.stop()
    return times


def cheap(bench, count):
    """A request while no worker runs."""
    server, times = Server(bench.place, "hatchery").start("sleeping", IDLE="500ms"), []
    server.ready("/robots.txt")
    for _ in range(count):
        asleep(server, 1)
        times.append(timed(server, "/robots.txt"))
    server.stop()
    return times


def app_from_nothing(bench, app, count):
    """A request to an application of which no process runs; and what Python takes to import it and exit."""
    server, times, imports = applications.start(bench, "hatchery", app, file="sleeping-app.ron", IDLE="500ms", PRELOAD=""), [], []
    if server is None:
        return None
    python = str(bench.place.venv / "bin/python")
    for _ in range(count):
        asleep(server, 2)
        times.append(timed(server, app.path, host="localhost"))
        began = time.monotonic()
        # On the server's core, and waited for without a time-out, which would poll.
        Process([python, "-c", "import " + app.module], cwd=str(app.directory), env=dict(os.environ, **app.environment)).wait(None)
        imports.append((time.monotonic() - began) * 1000)
    server.stop()
    return times, imports


def app_from_template(bench, app, count):
    """A request to a preloaded application of which only the template runs."""
    server, times = applications.start(bench, "hatchery", app, file="sleeping-app.ron", IDLE="500ms", PRELOAD="preload: true, keep: Template"), []
    if server is None:
        return None
    for _ in range(count):
        asleep(server, 3)
        times.append(timed(server, app.path, host="localhost"))
    server.stop()
    return times


def row(title, times, extra="–"):
    return [title, "{:.1f} ms".format(statistics.median(times)), "{:.1f} ms".format(min(times)), "{:.1f} ms".format(max(times)), extra]


def run(bench):
    static.make_files(bench.place.root)
    count, rows, goals = (3 if bench.quick else 15), [], []
    if bench.parts(["death"]):
        measure.progress("wake: a worker dies")
        times = death(bench, count)
        rows.append(row("worker killed, request answered by its replacement", times))
        goals.append(report.goal("death of a worker to an answer of its replacement", statistics.median(times), 20, " ms"))
    if bench.parts(["cheap"]):
        measure.progress("wake: cheap workers")
        times = cheap(bench, count)
        rows.append(row("no worker, request answered", times))
        goals.append(report.goal("cheap start of a worker, to its answer", statistics.median(times), 10, " ms"))
    for title, make in (("hello", applications.hello), ("Django shop", applications.shop)) if bench.parts(["app"]) else ():
        measure.progress("wake: " + title)
        found = app_from_nothing(bench, make(bench), count)
        if found:
            times, imports = found
            alone = statistics.median(imports)
            rows.append(row(title + " woken from nothing", times, "{:.1f} ms".format(alone)))
            goals.append(report.goal(title + " woken from nothing: more than its import takes", statistics.median(times) - alone, 40, " ms"))
        times = app_from_template(bench, make(bench), count)
        if times:
            rows.append(row(title + " woken from its template", times))
            goals.append(report.goal(title + " woken from its template", statistics.median(times), 20, " ms"))
    measure.progress("wake: done", end=True)
    head = ["", "median", "least", "most", "python -c 'import …'"]
    return [report.Section("Waking", "", head, rows, goals)], [
        "The time of a woken application includes its first request, which for Django opens the database and compiles templates.",
    ]
