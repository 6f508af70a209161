"""Hits of a response cache: nginx, varnish, haproxy, and our own static file of the same size."""
from .. import client, measure, report
from ..processes import CLIENT_CORES
from ..servers import NotStarted, Server
from . import static

ABOUT = "A response that is kept, on loopback: one worker on one core, wrk on the other; the upstream was asked once."
PROGRAMS = ["wrk", "nginx", "haproxy", "varnishd"]
PEERS = ["nginx", "varnishd", "haproxy"]
TABLE = {"1k": ("Hit of 1 KiB", "1k.txt"), "100k": ("Hit of 100 KiB", "100k.txt")}
PARTS = list(TABLE)
FILE = "hatchery, static file"


def start(bench, names, upstream):
    started = []
    for name in names:
        server = Server(bench.place, name)
        try:
            server.start("cache", UPSTREAM=upstream.port).ready("/kept")
            started.append(server)
        except NotStarted as error:
            server.stop()
            bench.left_out(name, error)
    return started


def run(bench):
    static.make_files(bench.place.root)
    sections = []
    for name in bench.parts(PARTS):
        title, file = TABLE[name]
        upstream = Server(bench.place, "limit", "upstream")
        upstream.cores = CLIENT_CORES
        upstream.start_limit("memory", bench.place.root / file).listening()
        servers = start(bench, bench.chosen(bench.ours() + PEERS), upstream)
        wanted = client.digest((bench.place.root / file).read_bytes())
        for server in servers:
            for _ in range(2):
                # By the name that wrk will use: others are other keys.
                answer = client.get(server.port, "/kept", host="127.0.0.1:{}".format(server.port))
                if client.digest(answer.body) != wanted:
                    raise SystemExit(server.label + " does not answer what the upstream says")
        # Whoever answers now has it.
        upstream.stop()
        plain = Server(bench.place, "hatchery", FILE).start("static")
        plain.ready("/" + file)
        rows = measure.rounds(title, servers, "/kept", bench.rounds, bench.seconds)
        rows += measure.rounds(title, [plain], "/" + file, bench.rounds, bench.seconds)
        for server in servers + [plain]:
            server.stop()
        sections.append(report.rated(title, "", rows, goals(title, rows)))
    return sections, [
        "The upstream has ended when the load begins, so that nobody can ask it again.",
        "nginx keeps bodies in files and sends them with sendfile, with an open file cache; varnish and haproxy keep them in memory.",
    ]


def goals(title, rows):
    by_label = {row.label: row for row in rows}
    own, found = by_label["hatchery"], [report.goal(title + ": × our static file", by_label["hatchery"].cpu / by_label[FILE].cpu, 1.15)]
    return found + [report.goal("{}: × {}".format(title, name), own.cpu / by_label[name].cpu, 1.0) for name in PEERS if name in by_label]
