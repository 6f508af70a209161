"""Python applications: hello and a Django page, by Hatchery, nginx + uWSGI, nginx + gunicorn, Granian, bjoern, caddysnake."""
from .. import client, measure, report
from . import alone, applications, cores

ABOUT = "WSGI applications on loopback: one application process, with its front on one core, wrk on the other."
PROGRAMS = ["wrk", "nginx", "uwsgi", "libev"]
PYTHON = True
# Title, application, what is accepted of the CPU of the older binary, and of that of peers.
TABLES = {
    "hello": ("hello, 6 bytes", applications.hello, 0.55, [("uwsgi", 0.60)]),
    "django": ("Django: the shop's first page, from SQLite", applications.shop, None, [("granian", 1.02), ("bjoern", 1.05)]),
}
PARTS = list(TABLES) + ["alone", "cores"]


def run(bench):
    sections = [table(bench, *TABLES[part]) for part in bench.parts(TABLES)]
    if bench.parts(["alone"]):
        sections += alone.sections(bench)
    if bench.parts(["cores"]):
        sections.append(cores.section(bench))
    return sections, [
        "Counted is the whole tree: nginx, master, worker and application processes. Switches are context switches a request, of all "
        "its threads, voluntary or not.",
        "Granian and bjoern face clients by themselves: they serve no files, buffer nothing for slow clients and know one "
        "application; they show what the front costs. caddysnake is Caddy with a process of Python behind it, of a newer Python where "
        "there is one: see the versions.",
    ]


def table(bench, title, make, of_before, of_peers):
    app = make(bench)
    servers = applications.start_all(bench, applications.wanted(bench, applications.STACKS), app)
    same_bytes(servers, app.path)
    rows = measure.rounds(title, servers, app.path, bench.rounds, bench.seconds, local)
    for server in servers:
        server.stop()
    goals = report.before_goals(title, rows, of_before) if of_before else []
    for peer, most in of_peers:
        goals += report.times_peer(title, rows, peer, most)
    return report.rated(title, "", rows, goals)


def local(server):
    return [("Host", "localhost")]


def same_bytes(servers, path):
    bodies = {server.label: client.get(server.port, path, host="localhost").body for server in servers}
    if len({client.digest(body) for body in bodies.values()}) > 1:
        raise SystemExit("answers differ: " + ", ".join("{} {} bytes".format(label, len(body)) for label, body in bodies.items()))
