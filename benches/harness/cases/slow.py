"""Clients that are slow both ways beside fast ones: what do they cost those, and what do they weigh? Part of the case load."""
import statistics
import time

from .. import load, measure, report
from . import applications

PEERS = ["nginx + uWSGI"]
# A client sends and takes its pieces so often; the time for a request, and the same again for its answer, is ten steps.
STEP, BODY = 3.0, 10 << 10
HEAD = ["server", "fast requests/s alone", "with slow ones", "part", "p99 alone", "p99 with", "slow answers", "cut off", "most late",
        "a slow client", "failed"]


def fast(server, rounds, seconds):
    """Requests a second, the median, and the like of p99; requests that failed."""
    taken = [measure.once(server, "/", seconds, starves=True) for _ in range(rounds)]
    return statistics.median(one.rate for one in taken), statistics.median(one.p99 for one in taken), sum(one.failed for one in taken)


def row(bench, server, count, step):
    rounds, cycle = 3 if bench.quick else bench.rounds, 20 * step
    measure.progress("slow: {} alone".format(server.label))
    alone, p99_alone, failed = fast(server, rounds, bench.seconds)
    before = server.pss()
    slow = load.Trickle(server, bench.place.run / "slow.log", count, BODY, BODY // 10, step, cycle)
    for _ in range(int(cycle) + 1):
        measure.progress("slow: {:,} come to {}".format(count, server.label))
        time.sleep(1)
    measure.progress("slow: {} with {:,}".format(server.label, count))
    rate, p99, failed_with = fast(server, rounds, bench.seconds)
    each = (server.pss() - before) / count
    counts = slow.counts()
    own = server.name == "hatchery"
    cells = ["**hatchery**" if own else server.label, "{:,.0f}".format(alone), "{:,.0f}".format(rate), "{:.3f}".format(rate / (alone or 1)),
             report.time(p99_alone), report.time(p99), "{:,}".format(counts["answered"]), str(counts["cut"]),
             "{:.1f} s".format(counts["late"]), "{:.1f} KiB".format(each / 1024), str(failed + failed_with)]
    goals = [report.goal("{:,} slow clients: throughput of fast ones, part of that without".format(count), rate / (alone or 1), 0.9, more=True),
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
            "PSS is of the whole tree.").format(count, 10 * step, step)
    return report.Section("Slow clients beside fast ones", text, HEAD, rows, goals)
