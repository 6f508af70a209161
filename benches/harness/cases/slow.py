"""Clients that are slow both ways beside fast ones: what do they cost those, and what do they weigh? Part of the case load."""
import statistics
import time

from .. import load, measure, report
from . import applications

PEERS = ["nginx + uWSGI"]
# A client sends and takes its pieces so often; the time for a request, and the same again for its answer, is ten steps.
STEP, BODY = 3.0, 10 << 10
HEAD = ["server", "fast requests/s alone", "with slow ones", "part", "CPU µs alone", "with", "p99 alone", "with", "slow answers", "cut off",
        "most late", "a slow client", "failed"]


def median(samples, field):
    return statistics.median(getattr(one, field) for one in samples)


def fast(bench, server, rounds):
    return [measure.once(server, "/", bench.seconds, starves=True) for _ in range(rounds)]


def row(bench, server, count, step):
    """Half of the rounds without slow clients come before those with them, half after: a machine that changes hits both."""
    rounds, cycle = 2 if bench.quick else bench.rounds, 20 * step
    measure.progress("slow: {} alone".format(server.label))
    alone = fast(bench, server, (rounds + 1) // 2)
    before = server.pss()
    slow = load.Trickle(server, bench.place.run / "slow.log", count, BODY, BODY // 10, step, cycle)
    for _ in range(int(cycle) + 1):
        measure.progress("slow: {:,} come to {}".format(count, server.label))
        time.sleep(1)
    measure.progress("slow: {} with {:,}".format(server.label, count))
    beside = fast(bench, server, rounds)
    each = (server.pss() - before) / count
    counts = slow.counts()
    measure.progress("slow: {} alone again".format(server.label))
    alone += fast(bench, server, (rounds + 1) // 2)
    own, both = server.name == "hatchery", (alone, beside)
    part = median(beside, "rate") / (median(alone, "rate") or 1)
    cells = (["**hatchery**" if own else server.label] + ["{:,.0f}".format(median(one, "rate")) for one in both] + ["{:.3f}".format(part)]
             + ["{:.2f}".format(median(one, "cpu")) for one in both] + [report.time(median(one, "p99")) for one in both]
             + ["{:,}".format(counts["answered"]), str(counts["cut"]), "{:.1f} s".format(counts["late"]), "{:.1f} KiB".format(each / 1024),
                str(sum(one.failed for one in alone + beside))])
    goals = [report.goal("{:,} slow clients: throughput of fast ones, part of that without".format(count), part, 0.9, more=True),
             report.goal("{:,} slow clients: PSS of each".format(count), each / 1024, 64, " KiB"),
             report.goal("{:,} slow clients: cut off".format(count), counts["cut"], 0)]
    return cells, goals if own else []


def section(bench):
    count, step = (1000, 0.3) if bench.quick else (10000, STEP)
    app, rows, goals = applications.single(bench, "bodies"), [], []
    for label in applications.wanted(bench, PEERS):
        # Alone: memory is weighed. PSS of shared libraries is a few MB at most, whoever else runs.
        server = applications.start(bench, label, app, PROCESSES=2, CONNECTIONS=count + 2000) if applications.installed(bench, label) else None
        if server:
            cells, more = row(bench, server, count, step)
            rows.append(cells)
            goals += more
            server.stop()
    measure.progress("slow: done", end=True)
    text = ("{:,} clients, each of which takes {:g} s to send 10 KiB, a tenth every {:g} s, and as long again to take 100 KiB, on and on; "
            "at any time half of them send. Beside them wrk -c64 with a small page; two application processes, all of the server on one core. "
            "CPU is of all that the server does, by the fast request; PSS is of the whole tree.").format(count, 10 * step, step)
    return report.Section("Slow clients beside fast ones", text, HEAD, rows, goals)
