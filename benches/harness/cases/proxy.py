"""A reverse proxy in front of one trivial upstream: nginx, haproxy, h2o, caddy."""
from .. import client, load, measure, report
from ..processes import CLIENT_CORES
from ..servers import NotStarted, Server
from . import static

ABOUT = "A reverse proxy on loopback: one worker on one core; wrk and the upstream (the floor program) on the other."
PROGRAMS = ["wrk", "nginx", "haproxy", "h2o", "caddy", "h2load"]
PEERS = ["nginx", "haproxy", "h2o", "caddy"]
# What is left of a machine for the tail of latencies.
STEADY = 0.5
MIB = 1 << 20


class Part:
    """One table: its title, what the upstream is, what the floor is, who is compared, and how it is loaded."""

    def __init__(self, title, upstream, bound, peers=("nginx", "haproxy"), floor=None, conf="proxy", path="/", **options):
        self.title, self.upstream, self.bound, self.peers = title, upstream, bound, list(peers)
        self.floor, self.conf, self.path, self.options = floor or upstream, conf, path, options


def talk(server, path, log, seconds):
    return load.Talk(server, path, log, seconds)


# How many times the best peer's CPU is accepted; of `half` its longest of a hundred.
TABLE = {
    "1k": Part("1 KiB response", ("memory", "1k.txt"), 0.95, PEERS),
    "100k": Part("100 KiB response", ("memory", "100k.txt"), 1.0, PEERS),
    "10m": Part("10 MiB response", ("memory", "10m.bin"), 1.0, connections=8),
    "upload": Part("1 MiB upload", ("upload", MIB), 1.0, connections=16, script="upload.lua"),
    "half": Part("1 KiB response at half load", ("memory", "1k.txt"), 1.0),
    "uwsgi": Part("1 KiB from the uwsgi protocol", ("uwsgi", "1k.txt"), 1.0, ["nginx"], ("memory", "1k.txt"), "gateways",
                  "/uwsgi"),
    "fastcgi": Part("1 KiB from FastCGI", ("fastcgi", "1k.txt"), 1.0, ["nginx"], ("memory", "1k.txt"), "gateways", "/fastcgi"),
    "websocket": Part("WebSocket message of 100 bytes, echoed", ("echo", "-"), 1.0, path="/ws", loader=talk),
}
PARTS = list(TABLE)


def start(bench, part, names, upstream):
    started = []
    for name in names:
        server = Server(bench.place, name)
        try:
            server.start(part.conf, UPSTREAM=upstream.port)
            # Of uploads and tunnels the first one shows whether it serves.
            if part.upstream[0] in ("memory", "uwsgi", "fastcgi"):
                server.ready(part.path)
            else:
                server.listening()
            started.append(server)
        except NotStarted as error:
            server.stop()
            bench.left_out(name, error)
    return started


def limit(bench, kind, *label):
    """The floor program, of this kind; a file by its name."""
    mode, argument = kind
    file = bench.place.root / str(argument)
    return Server(bench.place, "limit", *label), mode, file if file.is_file() else argument


def measured(bench, part, servers):
    """All servers in turn. At half load each has half of what the slowest of them can."""
    options = dict(part.options)
    if part.title.endswith("half load"):
        most = [measure.once(server, part.path, bench.seconds).rate for server in servers[1:]]
        rate = min(most) * STEADY
        options["loader"] = lambda server, path, log, seconds: load.Steady(server.url(path), log, seconds, rate)
    return measure.rounds(part.title, servers, part.path, bench.rounds, bench.seconds, **options)


def goals_of(name, part, rows):
    own, best = report.by_name(rows, "hatchery"), report.best_peer(rows)
    if not (own and best):
        return []
    if name == "half":
        haproxy = report.by_name(rows, "haproxy") or best
        longest = own.median("p99") / max(haproxy.median("p99"), 1)
        return [report.goal(part.title + ": p99 × " + haproxy.label, longest, part.bound)]
    return [report.goal(part.title + ": × the best peer", own.cpu / best.cpu, part.bound)]


def run(bench):
    static.make_files(bench.place.root)
    sections = []
    for name in bench.parts(PARTS):
        part = TABLE[name]
        names = bench.chosen(bench.ours() + part.peers)
        upstream, mode, argument = limit(bench, part.upstream, "upstream")
        upstream.cores = CLIENT_CORES
        upstream.start_limit(mode, argument).listening()
        floor, mode, argument = limit(bench, part.floor)
        floor.start_limit(mode, argument).listening()
        servers = start(bench, part, names, upstream)
        if part.floor[0] == "memory":
            wanted = client.digest(client.get(floor.port, "/").body)
            for server in servers:
                if client.digest(client.get(server.port, part.path).body) != wanted:
                    raise SystemExit(server.label + " does not answer what the upstream says")
        rows = measured(bench, part, [floor] + servers)
        for server in [floor, upstream] + servers:
            server.stop()
        goals = goals_of(name, part, rows)
        if name == "1k":
            goals += report.before_goals(part.title, rows, 0.88)
        sections.append(report.rated(part.title, "The floor answers by itself: it has no upstream.", rows, goals))
    return sections, [
        "The upstream's CPU is not counted: it is no child of the proxies and runs on the client's core.",
        "The upstream says keep-alive for ever; every proxy keeps up to 512 connections to it. An upstream of the uwsgi protocol "
        "closes after each response.",
        "At half load all have as many requests a second as half of what the slowest of them can, 64 connections at a time.",
        "A request of the WebSocket table is one message there and back; its client is Python's, which is the limit of messages a "
        "second before a proxy is, so that CPU is what to compare.",
    ]
