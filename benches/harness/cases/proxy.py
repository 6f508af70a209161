"""A reverse proxy in front of one trivial upstream: nginx, haproxy, h2o, caddy."""
from .. import client, measure, report
from ..processes import CLIENT_CORES
from ..servers import NotStarted, Server
from . import static

ABOUT = "A reverse proxy on loopback: one worker on one core; wrk and the upstream (the floor program) on the other."
PROGRAMS = ["wrk", "nginx", "haproxy", "h2o", "caddy"]
PEERS = ["nginx", "haproxy", "h2o", "caddy"]
PARTS = ["1k", "100k"]
FILES = {"1k": ("1 KiB response", "1k.txt"), "100k": ("100 KiB response", "100k.txt")}
# How many times the best peer's CPU is accepted.
BOUNDS = {"1k": 1.03, "100k": 1.0}


def start(bench, names, upstream):
    started = []
    for name in names:
        server = Server(bench.place, name)
        try:
            server.start("proxy", UPSTREAM=upstream.port).ready("/")
            started.append(server)
        except NotStarted as error:
            server.stop()
            bench.left_out(name, error)
    return started


def run(bench):
    static.make_files(bench.place.root)
    names, sections = bench.chosen(bench.ours() + PEERS), []
    for part in bench.parts(PARTS):
        title, file = FILES[part]
        upstream = Server(bench.place, "limit", "upstream")
        upstream.cores = CLIENT_CORES
        upstream.start_limit("memory", bench.place.root / file).ready("/")
        floor = Server(bench.place, "limit").start_limit("memory", bench.place.root / file)
        wanted = client.digest(floor.ready("/").body)
        servers = start(bench, names, upstream)
        for server in servers:
            if client.digest(client.get(server.port, "/").body) != wanted:
                raise SystemExit(server.label + " does not answer what the upstream says")
        rows = measure.rounds(title, [floor] + servers, "/", bench.rounds, bench.seconds)
        for server in [floor, upstream] + servers:
            server.stop()
        own, best, goals = report.by_name(rows, "hatchery"), report.best_peer(rows), []
        if own and best:
            goals.append(report.goal(title + ": × the best peer", own.cpu / best.cpu, BOUNDS[part]))
        if part == "1k":
            goals += report.before_goals(title, rows, 0.88)
        sections.append(report.rated(title, "The floor answers by itself: it has no upstream.", rows, goals))
    return sections, [
        "The upstream's CPU is not counted: it is no child of the proxies and runs on the client's core.",
        "The upstream says keep-alive for ever; every proxy keeps up to 512 connections to it.",
    ]
