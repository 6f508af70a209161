"""Static files against nginx, h2o, lighttpd and caddy, and against the floor."""
import collections
import os
import statistics

from .. import callgrind, client, measure, report
from ..processes import CORES
from ..servers import OURS, NotStarted, Server
from . import resting

ABOUT = "Static files on loopback: one worker pinned to one core, wrk on another, keep-alive, access logs off."
PROGRAMS = ["wrk", "nginx", "h2o", "lighttpd", "caddy", "valgrind"]
PEERS = ["nginx", "h2o", "lighttpd", "caddy"]
PARTS = ["1k", "100k", "10m", "304", "404", "pipelined", "connections", "two-workers", "memory", "instructions"]

# `rounds` is by how much more often than others it is measured.
Load = collections.namedtuple("Load", "title path floor status script rounds", defaults=[1])
LOADS = {
    "1k": Load("1 KiB file", "/1k.txt", ("memory", "1k.txt"), 200, "report.lua"),
    "100k": Load("100 KiB file", "/100k.txt", ("memory", "100k.txt"), 200, "report.lua"),
    "10m": Load("10 MiB file", "/10m.bin", ("sendfile", "10m.bin"), 200, "report.lua", 3),
    "304": Load("304 to If-None-Match", "/1k.txt", ("status", "304"), 304, "report.lua"),
    "404": Load("404", "/missing.txt", ("status", "404"), 404, "report.lua"),
    "pipelined": Load("1 KiB file, 16 requests pipelined", "/1k.txt", ("pipelined", "1k.txt"), 200, "pipeline.lua"),
}


def make_files(root):
    """Text that is the same in every run, in a directory that every user can read."""
    if root.exists():
        return
    root.mkdir()
    line = b"The quick brown fox jumps over the lazy dog and counts its eggs. "
    for name, size in (("1k.txt", 1 << 10), ("100k.txt", 100 << 10), ("10m.bin", 10 << 20)):
        (root / name).write_bytes((line * (size // len(line) + 1))[:size])
        os.utime(str(root / name), (1700000000, 1700000000))


def start(bench, names, workers=1, cores=None, label="{}", connections=12000):
    """Servers of files, those that start; a peer that does not is left out with its reason."""
    started = []
    for name in names:
        server = bench.server(Server(bench.place, name, label.format(name)))
        server.cores = cores
        try:
            server.start("static", WORKERS=workers, CONNECTIONS=connections, LIGHTTPD_WORKERS=workers if workers > 1 else 0).ready("/1k.txt")
            started.append(server)
        except NotStarted as error:
            server.stop()
            bench.left_out(name, error)
    return started


def start_floor(bench, load, label):
    mode, argument = load.floor
    server = bench.server(Server(bench.place, "limit", label))
    server.start_limit(mode, argument if mode == "status" else bench.place.root / argument).ready(load.path)
    return server


def validators(server, path):
    """The condition that makes this server say 304."""
    if server.name == "limit":
        return [("If-None-Match", '"18a3f0c2d5b1e6a7-400"')]
    return [("If-None-Match", client.get(server.port, path).fields["etag"])]


def check(load, name, servers, root):
    """Each server answers with the same status and the same bytes."""
    wanted = client.digest((root / load.path[1:]).read_bytes()) if load.status == 200 else None
    for server in servers:
        if server.name == "limit" and load.floor[0] == "status":
            continue
        fields = validators(server, load.path) if name == "304" else ()
        answer = client.get(server.port, load.path, fields=fields)
        if answer.status != load.status or wanted and client.digest(answer.body) != wanted:
            raise SystemExit("{} answers {} {} bytes on {}".format(server.label, answer.status, len(answer.body), load.path))


def goals(name, rows):
    own, best = report.by_name(rows, "hatchery"), report.best_peer(rows)
    if not own:
        return []
    # All rounds of the floor, which runs twice.
    floor = statistics.median(sample.cpu for row in rows if row.server.name == "limit" for sample in row.samples)
    found = []
    if name == "1k":
        found.append(report.goal("1 KiB: × the floor", own.cpu / floor, 1.15))
    if name == "10m":
        found.append(report.goal("10 MiB: × the bare sendfile loop", own.cpu / floor, 1.05))
    if best:
        bound = {"100k": 0.85, "10m": 1.02}.get(name, 1.0)
        found.append(report.goal("{}: × the best peer".format(LOADS[name].title), own.cpu / best.cpu, bound))
    if name == "1k":
        found += report.before_goals("1 KiB", rows, 1.0)
    return found


def loads(bench, servers):
    sections = []
    for name in bench.parts(LOADS):
        load = LOADS[name]
        floors = [start_floor(bench, load, label) for label in (["limit"] if bench.quick else ["limit", "limit again"])]
        everyone = floors + servers
        check(load, name, everyone, bench.place.root)
        fields = (lambda server: validators(server, load.path)) if name == "304" else None
        rows = measure.rounds(load.title, everyone, load.path, bench.rounds * load.rounds, bench.seconds, fields, script=load.script)
        for one in floors:
            one.stop()
        sections.append(report.rated(load.title, "", rows, goals(name, rows)))
    return sections


def connections(bench, servers):
    """How much dearer a request gets when 5,000 connections are busy instead of 64."""
    load, many = LOADS["1k"], 1000 if bench.quick else 5000
    floor = start_floor(bench, load, "limit")
    everyone = [floor] + [one for one in servers if one.name != "caddy"]
    few = measure.rounds("64 connections", everyone, load.path, bench.rounds, bench.seconds)
    lot = measure.rounds("{:,} connections".format(many), everyone, load.path, bench.rounds, bench.seconds * 2, connections=many)
    floor.stop()
    slower = {row.server.name: row.cpu / one.cpu for one, row in zip(few, lot)}
    added = {row.server.name: row.cpu - one.cpu for one, row in zip(few, lot)}
    rows = [["**hatchery**" if a.server.name == "hatchery" else a.label, "{:.2f}".format(a.cpu), "{:.2f}".format(b.cpu),
             "{:.2f}".format(slower[a.server.name]), "{:.2f}".format(added[a.server.name]), "{:,.0f}".format(b.median("rate")), report.time(b.median("p99")),
             str(sum(sample.failed for sample in b.samples))] for a, b in zip(few, lot)]
    found = []
    if "hatchery" in slower and "nginx" in slower:
        found.append(report.goal("{:,} connections: slowdown, against nginx's own".format(many), slower["hatchery"], slower["nginx"]))
        found.append(report.goal("{:,} connections: CPU added to each request, against nginx's own".format(many),
                                 added["hatchery"], added["nginx"], " µs"))
    head = ["server", "CPU µs, 64", "CPU µs, {:,}".format(many), "slowdown", "µs more", "requests/s", "p99", "failed"]
    report.times_before(head, rows, 3, [one.cpu for one in lot])
    text = "What the kernel needs more is the same for all: the cheaper a request, the larger a share of it that is."
    return [report.Section("1 KiB file, 64 to {:,} connections".format(many), text, head, rows, found)]


def split(server):
    """Connections held by each worker: descriptors of the processes that are established sockets of the port."""
    wanted = set()
    with open("/proc/net/tcp") as file:
        for line in file:
            fields = line.split()
            if fields[1].endswith(":{:04X}".format(server.port)) and fields[3] == "01":
                wanted.add("socket:[{}]".format(fields[9]))
    counts = []
    for member in server.tree():
        directory = "/proc/{}/fd".format(member.pid)
        held = 0
        for name in os.listdir(directory):
            try:
                held += os.readlink(os.path.join(directory, name)) in wanted
            except OSError:
                continue
        if held:
            counts.append(held)
    return sorted(counts, reverse=True)


def two_workers(bench, servers):
    """Two workers on the server's core against one, and how they share 64 connections there and on two cores."""
    names = [one.name for one in servers if one.name in OURS + ("nginx", "lighttpd")]
    pinned = start(bench, names, workers=2, label="{} × 2")
    free = start(bench, names, workers=2, cores=set(CORES), label="{} × 2, free")
    shares, rows, costs, found = {}, [], [], []

    def watched(server):
        return lambda: shares.setdefault(server.label, []).append(watch(server))

    for server in pinned + free:
        # Not counted: the descriptors are read while the load runs.
        for _ in range(1 if bench.quick else 3):
            measure.once(server, "/1k.txt", 1, during=watched(server))
    ones = [one for one in servers if one.name in names]
    cost = {row.label: row.cpu for row in measure.rounds("two workers", ones + pinned, "/1k.txt", bench.rounds, bench.seconds)}
    for name in names:
        two, apart = "{} × 2".format(name), "{} × 2, free".format(name)
        if two not in cost or apart not in shares:
            continue
        ratio = cost[two] / cost[name]
        here, there = worst(shares[two]), worst(shares[apart])
        costs.append(cost[two])
        rows.append(["**hatchery**" if name == "hatchery" else name, "{:.2f}".format(cost[name]), "{:.2f}".format(cost[two]),
                     "{:.2f}".format(ratio), "{:.0%}".format(here), "{:.0%}".format(there)])
        if name == "hatchery":
            found.append(report.goal("two workers: CPU per request × that with one", ratio, 1.10))
            found.append(report.goal("two workers on two cores: larger share of 64 connections", there * 100, 60, " %"))
            found.append(report.goal("two workers on one core: larger share of 64 connections", here * 100, 60, " %"))
    for server in pinned + free:
        server.stop()
    head = ["server", "CPU µs, one", "CPU µs, two", "ratio", "larger share, one core", "larger share, two cores"]
    report.times_before(head, rows, 3, costs)
    return [report.Section("Two workers", "The worst of the splits seen while wrk held 64 connections.", head, rows, found)]


def watch(server):
    """The split once all connections are there."""
    import time
    time.sleep(0.5)
    return split(server)


def worst(splits):
    return max(max(counts) / sum(counts) if counts else 1.0 for counts in splits)


def run(bench):
    make_files(bench.place.root)
    names = bench.chosen(bench.ours() + PEERS)
    sections = []
    wanted = set(bench.parts(PARTS))
    if wanted & set(LOADS) or wanted & {"connections", "two-workers"}:
        servers = start(bench, names)
        sections += loads(bench, servers)
        if "connections" in wanted:
            sections += connections(bench, servers)
        if "two-workers" in wanted:
            sections += two_workers(bench, servers)
        for server in servers:
            server.stop()
    if "memory" in wanted:
        sections += resting.memory(bench, start, names)
    if "instructions" in wanted and "hatchery" in names:
        sections += callgrind.section(bench)
    return sections, [
        "The floor (`limit`) does epoll, recv and send of a constant answer and parses nothing; for 10 MiB it is a bare "
        "sendfile loop. `limit again` is the same program once more: what differs between the two is noise; "
        "goals take the rounds of both together. 10 MiB has three times the rounds of the others.",
        "CPU is user and system time of the whole process tree from /proc, divided by the requests wrk counted. Spread is "
        "half the distance between the quartiles over the rounds.",
        "PSS in the tables is under load, with pages of libraries shared by all servers that run at the time.",
    ]
