"""HTTP/2 against h2o, nginx, haproxy and caddy, without and over TLS."""
from .. import callgrind, http2, load, measure, report
from . import static, tls

ABOUT = "HTTP/2 on loopback: one worker pinned to one core, h2load on another: 8 connections with 32 streams at a time each."
PROGRAMS = ["wrk", "h2load", "nginx", "h2o", "haproxy", "caddy", "valgrind"]
PEERS = tls.PEERS
PARTS = ["plain", "tls", "memory", "instructions"]
# As of `callgrind`.
INSTRUCTIONS = {"/1k.txt": ("1 KiB file over HTTP/2", 11500)}


def loads(bench, servers):
    sections = []
    for part, title, bounds in (("plain", "1 KiB over HTTP/2", {"h2o": 0.9, "nginx": 0.3}),
                                ("tls", "1 KiB over HTTP/2 and TLS", {"h2o": 1, "nginx": 1})):
        if part not in bench.parts(PARTS):
            continue
        tls.check(servers, "/1k.txt", bench.place.root)
        rows = measure.rounds(title, servers, "/1k.txt", bench.rounds, bench.seconds, loader=(
            lambda server, path, log, seconds, part=part: load.H2load(
                server.plain_url(path) if part == "plain" else server.url(path), log, seconds)))
        goals = [one for peer, bound in bounds.items() for one in report.times_peer(title, rows, peer, bound)]
        sections.append(report.rated(title, "", rows, goals, ("mean", "slowest")))
    return sections


def memory(bench, names):
    kinds = [
        ("HTTP/2", lambda server, count: http2.idle_connections(server.plain, "/1k.txt", count, False)),
        ("HTTP/2 over TLS", lambda server, count: http2.idle_connections(server.port, "/1k.txt", count, True)),
        ("HTTP/1.1 over TLS", tls.idle),
    ]
    found = tls.weigh(bench, names, kinds)
    h2, h1 = (found.get(("hatchery", kind)) for kind in ("HTTP/2 over TLS", "HTTP/1.1 over TLS"))
    goals = [report.goal("bytes of an idle connection that HTTP/2 has more than HTTP/1.1, over TLS", h2 - h1, 4096, " B")] if h2 and h1 else []
    text = "Bytes that each of 1,000 connections adds to the PSS that served one request, each server alone."
    return report.Section("Memory of idle connections", text, ["server"] + [kind for kind, _ in kinds], tls.weights(names, kinds, found), goals)


def run(bench):
    static.make_files(bench.place.root)
    names, sections = bench.chosen(bench.ours() + PEERS), []
    if set(bench.parts(PARTS)) - {"memory", "instructions"}:
        servers = tls.start(bench, names)
        sections += loads(bench, servers)
        for server in servers:
            server.stop()
    if "memory" in bench.parts(PARTS):
        sections.append(memory(bench, names))
    if "instructions" in bench.parts(PARTS):
        sections += callgrind.section(bench, INSTRUCTIONS, callgrind.together, "8 connections with 32 streams at a time each")
    return sections, ["haproxy serves no files: it answers with a fixed body of the same bytes."]
