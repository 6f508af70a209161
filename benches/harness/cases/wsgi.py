"""Python applications: hello and a Django page, by Hatchery, nginx + uWSGI, nginx + gunicorn, Granian, bjoern."""
from .. import client, measure, report
from . import applications

ABOUT = "WSGI applications on loopback: one application process, with its front on one core, wrk on the other."
PROGRAMS = ["wrk", "nginx", "uwsgi", "libev"]
PYTHON = True
PARTS = ["hello", "django"]


def run(bench):
    sections = []
    peers = [label for label in applications.STACKS if wanted(bench, label)]
    stacks = [label for label in bench.ours() + peers if applications.installed(bench, label)]
    for part in bench.parts(PARTS):
        app = applications.hello(bench) if part == "hello" else applications.shop(bench)
        title = "hello, 6 bytes" if part == "hello" else "Django: the shop's first page, from SQLite"
        servers = [one for one in (applications.start(bench, label, app) for label in stacks) if one]
        same_bytes(servers, app.path)
        rows = measure.rounds(title, servers, app.path, bench.rounds, bench.seconds, lambda server: [("Host", "localhost")])
        for server in servers:
            server.stop()
        own, best, goals = report.by_name(rows, "hatchery"), report.best_peer(rows), []
        if own and best:
            goals.append(report.goal(title + ": × the best peer", own.cpu / best.cpu, 1.0))
        if part == "hello":
            goals += report.before_goals(title, rows, 0.95)
        sections.append(report.rated(title, "", rows, goals))
    return sections, [
        "Counted is the whole tree: nginx, master, worker and application processes.",
        "Granian and bjoern face clients by themselves: they serve no files, buffer nothing for slow clients and know one "
        "application; they show what the front costs.",
    ]


def wanted(bench, label):
    """--peers names a stack, or one of its programs."""
    peers = bench.options.peers
    return peers is None or bool(set(peers) & {label, applications.STACKS[label][-1]})


def same_bytes(servers, path):
    bodies = {server.label: client.get(server.port, path, host="localhost").body for server in servers}
    if len({client.digest(body) for body in bodies.values()}) > 1:
        raise SystemExit("answers differ: " + ", ".join("{} {} bytes".format(label, len(body)) for label, body in bodies.items()))
