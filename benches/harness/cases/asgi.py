"""ASGI applications: hello, messages of WebSocket and idle ones, by Hatchery, nginx + uvicorn, Granian and uvicorn alone."""
import os
import resource
import shutil
import subprocess

from .. import load, measure, report, servers
from ..processes import rollup
from ..servers import NotStarted, Server
from . import applications, resting
from .wsgi import local, same_bytes

ABOUT = "ASGI applications on loopback: one application process, with its front on one core, the client on the other."
PROGRAMS = ["wrk", "nginx"]
PYTHON = True
# As `applications.STACKS`.
STACKS = {"nginx + uvicorn": ["nginx", "uvicorn"], "granian": ["granian"], "uvicorn": ["uvicorn"]}
FRONTED = "nginx + uvicorn"
PARTS = ["hello", "websocket", "idle"]
HELLO, ECHO = "hello, 6 bytes", "WebSocket message of 100 bytes, echoed"


def start(bench, label, **more):
    """Starts a stack and waits for its first answer; None when it does not come."""
    server = Server(bench.place, STACKS.get(label, [label])[-1], label)
    directory = bench.place.run / "asgi"
    if not directory.exists():
        directory.mkdir()
        shutil.copy(str(servers.BENCHES / "peers/asgi/hello.py"), str(directory))
    venv, target, there = bench.place.venv / "bin", "hello:application", dict(cwd=str(directory), env=os.environ)
    uvicorn = [venv / "uvicorn", "--loop", "uvloop", "--http", "httptools", "--ws", "websockets", "--interface", "asgi3",
               "--no-access-log", "--log-level", "error", "--timeout-keep-alive", 600, "--backlog", 4096]
    if label in servers.OURS:
        values = dict(MODULE="hello", CHDIR=directory, **more)
        server.spawn(server.command(label, server.configure("asgi", "hatchery.ron", **values)))
    elif label == "granian":
        server.spawn([venv / "granian", "--interface", "asgi", "--loop", "uvloop", "--host", "127.0.0.1", "--port", server.port,
                      "--workers", 1, "--http", 1, "--backlog", 4096, "--log-level", "error", target], **there)
    elif label == "uvicorn":
        server.spawn(uvicorn + ["--host", "127.0.0.1", "--port", server.port, target], **there)
    else:
        server.spawn(uvicorn + ["--uds", server.run / "app.sock", target], **there)
        server.spawn(server.command("nginx", server.configure("asgi", "nginx.conf", **more)))
    try:
        server.ready("/", wanted=200, host="localhost")
        return server
    except NotStarted as error:
        server.stop()
        bench.left_out(label, error)
        return None


def chosen(bench):
    return [one for one in applications.wanted(bench, STACKS, STACKS) if applications.installed(bench, one, STACKS)]


def by_label(rows, label):
    return next((row for row in rows if row.label == label), None)


def compared(rows, goals):
    """Goals of CPU: by label of a peer, what is accepted of its."""
    own, found = by_label(rows, "hatchery"), []
    for title, label, most in goals:
        peer = by_label(rows, label)
        if own and peer:
            found.append(report.goal("{}: × {}".format(title, label), own.cpu / peer.cpu, most))
    return found


def hello(bench, started):
    same_bytes(started, "/")
    rows = measure.rounds(HELLO, started, "/", bench.rounds, bench.seconds, local)
    return report.rated(HELLO, "", rows, compared(rows, [(HELLO, FRONTED, 1.0), (HELLO, "granian", 1.3)]))


def echo(bench, started):
    rows = measure.rounds(ECHO, started, "/", bench.rounds, bench.seconds, loader=(
        lambda server, path, log, seconds: load.Talk(server, path, log, seconds)))
    goals = compared(rows, [(ECHO, FRONTED, 1.0)])
    own, peer = by_label(rows, "hatchery"), by_label(rows, FRONTED)
    if own and peer:
        goals.append(report.goal("WebSocket messages a second: × " + FRONTED, own.median("rate") / peer.median("rate"), 1.0, more=True))
    text = "64 connections, one message at a time on each. A request is one message there and back; failed are connections that were lost."
    return report.rated(ECHO, text, rows, goals)


def front(server):
    """The process that faces clients, where that is another one than the application's."""
    return applications.front(server) if server.name in servers.OURS or server.label == FRONTED else None


def room(label, count):
    """How many WebSockets a server may have here: nginx has two descriptors for each."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 1000
    return min(count, most // 2 if label == FRONTED else most)


def weigh(bench, label, count):
    """What each of so many idle WebSockets adds to the process in front and to the whole tree; None if they cannot be opened."""
    server = start(bench, label, CONNECTIONS=count * 2 + 2000)
    if server is None:
        return None
    pid = front(server)
    try:
        # What a server makes once it makes before.
        opened(bench, server, 64, 0)
        before, of_front = resting.settle(server, 3), rollup(pid, "Pss") if pid else float("nan")
        after = opened(bench, server, count, 5, lambda: rollup(pid, "Pss") if pid else float("nan"))
        return (after[1] - of_front) / count, (after[0] - before) / count
    except OSError as error:
        bench.left_out("{} with {:,} WebSockets".format(label, count), error)
        return None
    finally:
        server.stop()


def opened(bench, server, count, seconds, look=lambda: None):
    """The PSS of the tree with so many WebSockets when it has stopped changing, and what `look` finds then."""
    clients = load.Idle(server, "/", bench.place.run / "idle.log", count)
    try:
        whole = clients.opened(240)
        found = resting.settle(server, seconds), look()
    finally:
        counts = clients.counts()
    if not whole or counts["closed"]:
        raise OSError("{opened:,} were opened, {closed:,} were closed".format(**counts))
    return found


def idle(bench, labels):
    rows, goals = [], []
    for label in labels:
        measure.progress("idle WebSockets: " + label)
        count = room(label, 1000 if bench.quick else 10000)
        found = weigh(bench, label, count)
        cells = ["–" if not found or each != each else "{:,.0f}".format(each) for each in found or (0, 0)]
        rows.append(["**hatchery**" if label == "hatchery" else label, "{:,}".format(count)] + cells)
        if label == "hatchery" and found:
            goals.append(report.goal("bytes of an idle WebSocket in the worker", found[0], 12 * 1024, " B"))
    measure.progress("idle WebSockets: done", end=True)
    text = "What each idle WebSocket adds to the PSS, each server alone. There are 10,000, or as many as the limit of descriptors lets."
    return report.Section("Idle WebSockets", text, ["server", "WebSockets", "bytes in the front", "bytes in all processes"], rows, goals)


def run(bench):
    labels, sections, wanted = chosen(bench), [], bench.parts(PARTS)
    if set(wanted) - {"idle"}:
        started = [one for one in (start(bench, label) for label in labels) if one]
        sections += [make(bench, started) for part, make in (("hello", hello), ("websocket", echo)) if part in wanted]
        for server in started:
            server.stop()
    if "idle" in wanted:
        sections.append(idle(bench, labels))
    return sections, [
        "Counted is the whole tree: nginx, master, worker and application processes. All run uvloop; uvicorn with httptools and "
        "websockets: " + libraries(bench) + ".",
        "Granian and uvicorn face clients by themselves: they show what the front costs.",
        "The client of WebSockets is Python's; it asks for no compression. A server that is busy below 80 % is held up by it.",
    ]


def libraries(bench):
    code = "import importlib.metadata as m; print(', '.join(n + ' ' + m.version(n) for n in ('uvloop', 'httptools', 'websockets')))"
    done = subprocess.run([str(bench.place.venv / "bin/python"), "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          universal_newlines=True)
    return done.stdout.strip() or "not all of them could be installed"
