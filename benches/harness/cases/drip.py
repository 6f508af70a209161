"""Clients that send a byte a second: do others wait for them? Part of the case load."""
import statistics
import time

from .. import load, measure, report
from . import applications

CLIENTS = 100
PEERS = ["nginx + uWSGI", "caddysnake"]
HEAD = ["server", "requests/s alone", "with them", "part", "CPU µs alone", "with them", "p99 alone", "p99 with", "cut off", "failed"]


class Both:
    """What wrk counted without slow clients, and with them, in turns."""

    def __init__(self, server):
        self.server, self.alone, self.beside, self.cut = server, [], [], 0

    def round(self, bench):
        self.alone.append(measure.once(self.server, "/", bench.seconds, starves=True))
        slow = load.Trickle(self.server, bench.place.run / "drip.log", CLIENTS, 100000, 1, 1.0, 0.5, "head")
        # Until all are there and have sent twice.
        time.sleep(2.0)
        self.beside.append(measure.once(self.server, "/", bench.seconds, starves=True))
        self.cut += slow.counts()["cut"]


def line(one):
    own = one.server.name == "hatchery"
    (rate, cpu, p99), (rate_with, cpu_with, p99_with) = (
        [statistics.median(getattr(sample, field) for sample in samples) for field in ("rate", "cpu", "p99")]
        for samples in (one.alone, one.beside))
    part = rate_with / rate if rate else 0.0
    return ["**hatchery**" if own else one.server.label, "{:,.0f}".format(rate), "{:,.0f}".format(rate_with), "{:.3f}".format(part),
            "{:.2f}".format(cpu), "{:.2f}".format(cpu_with) if rate_with else "–", report.time(p99), report.time(p99_with) if rate_with else "–",
            str(one.cut), str(sum(sample.failed for sample in one.alone + one.beside))], part


def section(bench):
    app, lines, goals = applications.single(bench, "bodies"), [], []
    both = [Both(server) for server in applications.start_all(bench, applications.wanted(bench, PEERS), app)]
    for number in range(bench.rounds):
        for one in both:
            measure.progress("drip: round {}/{} {}".format(number + 1, bench.rounds, one.server.label))
            one.round(bench)
    for one in both:
        one.server.stop()
        cells, part = line(one)
        lines.append(cells)
        if one.server.name == "hatchery":
            goals.append(report.goal("{} clients that send a byte a second: throughput of others, part of that without".format(CLIENTS),
                                     part, 0.95, more=True))
    measure.progress("drip: done", end=True)
    text = ("{} clients send a byte a second, half of them of a head, half of a body of 100 kB that the application reads, beside wrk -c64 "
            "with a small page; one application process. Both in turns, medians.").format(CLIENTS)
    return report.Section("Clients that send a byte a second", text, HEAD, lines, goals)
