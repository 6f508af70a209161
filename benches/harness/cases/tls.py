"""HTTPS against nginx, h2o, haproxy and caddy: files, handshakes, idle connections."""
from .. import client, load, measure, report, secure
from ..servers import NotStarted, Server, free_port
from . import resting, static

ABOUT = "Static files over TLS on loopback: one worker pinned to one core, the client on another; ECDSA P-256, access logs off."
PROGRAMS = ["wrk", "nginx", "h2o", "haproxy", "caddy"]
PEERS = ["nginx", "h2o", "haproxy", "caddy"]
PARTS = ["1k", "10m", "full", "resumed", "memory"]


def start(bench, names):
    """Servers of files over TLS, and of HTTP/2 without on a second port."""
    secure.certificate(bench.place.run / "tls")
    started = []
    for name in names:
        server = bench.server(Server(bench.place, name))
        server.context, server.plain = secure.context("http/1.1"), free_port()
        try:
            server.start("tls", PLAIN=server.plain, TLS=bench.place.run / "tls").ready("/1k.txt", host="localhost")
            started.append(server)
        except NotStarted as error:
            server.stop()
            bench.left_out(name, error)
    return started


def check(servers, path, root):
    """Each server answers with the same bytes."""
    wanted = client.digest((root / path[1:]).read_bytes())
    for server in servers:
        if client.digest(client.get(server.port, path, context=server.context).body) != wanted:
            raise SystemExit("{} does not answer what is in {}".format(server.label, path))


def ciphers(servers):
    """What each server has settled on with OpenSSL's client."""
    said = []
    for server in servers:
        connection = client.Connection(server.port, context=server.context)
        said.append("{} {} {}".format(server.label, connection.socket.version(), connection.socket.cipher()[0]))
        connection.close()
    return "Settled with wrk's OpenSSL: {}.".format(", ".join(said))


def files(bench, servers):
    sections = []
    for part, title, path, bound, often in (("1k", "1 KiB over TLS, kept connections", "/1k.txt", 0.65, 1),
                                            ("10m", "10 MiB over TLS, kept connections", "/10m.bin", 0.7, 3)):
        if part not in bench.parts(PARTS):
            continue
        # haproxy answers with what fits its buffers.
        able = [one for one in servers if part == "1k" or one.name != "haproxy"]
        check(able, path, bench.place.root)
        # Of large files a second has to hold several for each connection.
        rows = measure.rounds(title, able, path, bench.rounds * often, bench.seconds, connections=64 if part == "1k" else 8)
        sections.append(report.rated(title, "", rows, report.times_peer(title, rows, "nginx", bound)))
    return sections


def handshakes(bench, servers):
    sections = []
    for part, title, bound in (("full", "New connections, full handshakes", 0.6), ("resumed", "New connections, resumed", 0.65)):
        if part not in bench.parts(PARTS):
            continue
        # The client is slower than the servers: there is less to count in a second.
        rows = measure.rounds(title, servers, "/1k.txt", bench.rounds, bench.seconds * 2, loader=(
            lambda server, path, log, seconds, kind=part: load.Handshakes(server, path, log, seconds, kind)))
        text = "TLS 1.3; each connection has its handshake, one request of 1 KiB and its end. Failed are also those that were not resumed."
        sections.append(report.rated(title, text, rows, report.times_peer(title, rows, "nginx", bound)))
    return sections


def weigh(bench, names, kinds):
    """Each server alone: what a connection of each kind adds that has served one request and stays; by server and kind."""
    count, found = 1000, {}
    for name in names:
        for kind, connect in kinds:
            measure.progress("memory: {} {}".format(name, kind))
            for server in start(bench, [name]):
                try:
                    # What a server makes once it makes before.
                    for connection in connect(server, 64):
                        connection.close()
                    before = resting.settle(server, 3)
                    kept = connect(server, count)
                    found[name, kind] = (resting.settle(server, 3) - before) / count
                    for connection in kept:
                        connection.close()
                except (OSError, client.Broken) as error:
                    bench.left_out("{} with {:,} connections ({})".format(name, count, kind), error)
                server.stop()
    measure.progress("memory: done", end=True)
    return found


def weights(names, kinds, found):
    rows = []
    for name in names:
        cells = ["{:,.0f}".format(found[name, kind]) if (name, kind) in found else "–" for kind, _ in kinds]
        rows.append(["**hatchery**" if name == "hatchery" else name] + cells)
    return rows


def idle(server, count):
    return client.idle_connections(server.port, "/1k.txt", count, server.context)


def memory(bench, names):
    kinds = [("bytes per idle connection", idle)]
    found = weigh(bench, names, kinds)
    own = found.get(("hatchery", kinds[0][0]))
    goals = [report.goal("bytes per idle TLS connection", own, 5 * 1024, " B")] if own else []
    text = "What each of 1,000 TLS connections adds to the PSS that served one request, each server alone."
    return report.Section("Memory", text, ["server", kinds[0][0]], weights(names, kinds, found), goals)


def run(bench):
    static.make_files(bench.place.root)
    names, sections, notes = bench.chosen(bench.ours() + PEERS), [], []
    if set(bench.parts(PARTS)) - {"memory"}:
        servers = start(bench, names)
        notes.append(ciphers(servers))
        sections += files(bench, servers) + handshakes(bench, servers)
        for server in servers:
            server.stop()
    if "memory" in bench.parts(PARTS):
        sections.append(memory(bench, names))
    return sections, notes + [
        "haproxy serves no files: it answers with a fixed body of the same bytes, and is left out where that does not fit its buffers.",
        "The certificate is made by openssl for the run. Handshakes come from benches/harness/handshakes.py (Python's ssl, four processes "
        "on the client's core).",
    ]
