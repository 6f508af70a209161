"""Application processes that are killed under load: whose requests fail? Part of the case load."""
import os
import random
import signal
import threading
import time

from .. import client, measure, report
from . import applications

PEERS = ["nginx + uWSGI", "nginx + gunicorn"]
PROCESSES, DEATHS, WITHIN, CLIENTS = 4, 4, 5.0, 16
HEAD = ["server", "killed", "GET", "failed", "POST", "failed", "slowest", "how"]


class Caller(threading.Thread):
    """One client on one connection: mostly GETs, some POSTs, one after the other."""

    def __init__(self, port, seed, stop):
        super().__init__(daemon=True)
        self.port, self.draw, self.stop = port, random.Random(seed), stop
        self.asked, self.failed, self.how, self.slowest = {"GET": 0, "POST": 0}, {"GET": 0, "POST": 0}, set(), 0.0

    def run(self):
        connection = None
        while not self.stop.is_set():
            method = "POST" if self.draw.random() < 0.2 else "GET"
            began = time.monotonic()
            try:
                connection = connection or client.Connection(self.port, timeout=20.0)
                fields = [("Content-Length", 0)] if method == "POST" else []
                status = connection.get("/?5", method=method, fields=fields, host="localhost").status
                problem = None if status == 200 else str(status)
            except (OSError, client.Broken) as error:
                connection, problem = None, type(error).__name__
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.asked[method] += 1
            if problem:
                self.failed[method] += 1
                self.how.add(problem)


def kill(server):
    """Each time another process: what comes in the place of the dead lives on."""
    killed, victims = 0, applications.app_processes(server)
    for victim in victims[:DEATHS]:
        time.sleep(WITHIN / (DEATHS + 1))
        os.kill(victim.pid, signal.SIGKILL)
        killed += 1
    time.sleep(WITHIN / (DEATHS + 1) + 1.0)
    return killed


def row(server):
    stop = threading.Event()
    callers = [Caller(server.port, seed, stop) for seed in range(CLIENTS)]
    for caller in callers:
        caller.start()
    killed = kill(server)
    stop.set()
    for caller in callers:
        caller.join(25.0)
    asked, failed = ({method: sum(getattr(caller, kind)[method] for caller in callers) for method in ("GET", "POST")}
                     for kind in ("asked", "failed"))
    own = server.name == "hatchery"
    cells = ["**hatchery**" if own else server.label, str(killed)]
    for method in ("GET", "POST"):
        cells += ["{:,}".format(asked[method]), str(failed[method])]
    how = ", ".join(sorted(set().union(*(caller.how for caller in callers)))) or "–"
    cells += [report.time(max(caller.slowest for caller in callers) * 1e6), how]
    goals = [report.goal("{} processes killed in {:g} s: GETs that failed".format(DEATHS, WITHIN), failed["GET"], 0),
             report.goal("{} processes killed in {:g} s: POSTs that failed, of one at work in each".format(DEATHS, WITHIN), failed["POST"], killed)]
    return cells, goals if own else []


def section(bench):
    app, rows, goals = applications.single(bench, "naps", "/?1"), [], []
    for server in applications.start_all(bench, applications.wanted(bench, PEERS), app, PROCESSES=PROCESSES, GUNICORN="sync", GUNICORN_THREADS=1):
        measure.progress("deaths: " + server.label)
        cells, more = row(server)
        rows.append(cells)
        goals += more
        server.stop()
    measure.progress("deaths: done", end=True)
    text = ("{} clients, one request after the other, a fifth of them POSTs, of a view that sleeps 5 ms. Each of {} processes, one request at a "
            "time, is killed (KILL) at work, one after the other within {:g} s. The request that a process has begun may fail, if it must "
            "not be repeated.").format(CLIENTS, PROCESSES, WITHIN)
    return report.Section("Application processes killed under load", text, HEAD, rows, goals)
