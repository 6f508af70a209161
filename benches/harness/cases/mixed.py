"""Fast views among slow ones, at 80 % of what the processes can: how near is the queue to a single one? Part of the case load."""
from .. import arrivals, measure, report
from ..servers import Server
from . import applications

PROCESSES, WORKERS, BUSY = 4, 2, 0.8
MIX = [(0.95, 1), (0.05, 100)]
PEERS = ["nginx + gunicorn", "nginx + uWSGI"]
HEAD = ["server", "requests", "p50", "p99", "slowest", "ideal p50", "ideal p99", "p99 × ideal", "sent late, p99", "failed"]


class Taken:
    """What was measured of one server in all rounds, and what an ideal queue would have made of the same."""

    def __init__(self, server):
        self.server, self.latencies, self.ideal, self.late, self.failed = server, [], [], [], 0

    def round(self, planned):
        driven = arrivals.Drive(self.server.port, planned).run()
        came = [number for number, latency in enumerate(driven.latencies) if latency is not None]
        self.latencies += [driven.latencies[number] for number in came]
        self.late += [sent - one.at for sent, one in zip(driven.sent, planned) if sent is not None]
        self.failed += driven.failed
        # The ideal has the views as long as they were: what a sleep takes longer than asked is the kernel's.
        takes = [int(driven.bodies[number]) / 1e6 if self.server.name != "limit" else 0.0 for number in came]
        self.ideal += arrivals.ideal([driven.sent[number] for number in came], takes, PROCESSES)


def at(latencies, part):
    """Microseconds that so large a part of the latencies is below."""
    ordered = sorted(latencies)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)] * 1e6


def times(one):
    ideal = at(one.ideal, 0.99)
    return at(one.latencies, 0.99) / ideal if ideal else None


def plans(bench):
    """One plan a round; the same ones for all servers."""
    rate = BUSY * PROCESSES / sum(share * milliseconds / 1000 for share, milliseconds in MIX)
    return [arrivals.plan(seed, rate, 6 if bench.quick else 15, MIX) for seed in range(1 if bench.quick else 3)]


def line(one):
    own, ratio = one.server.name == "hatchery", times(one)
    return (["**hatchery**" if own else one.server.label, "{:,}".format(len(one.latencies))]
            + [report.time(at(one.latencies, part)) for part in (0.5, 0.99, 1)]
            + [report.time(at(one.ideal, part)) if ratio else "–" for part in (0.5, 0.99)]
            + ["{:.2f}".format(ratio) if ratio else "–", report.time(at(one.late, 0.99)), str(one.failed)])


def section(bench):
    app, planned = applications.single(bench, "naps", "/?1"), plans(bench)
    servers = applications.start_all(bench, applications.wanted(bench, PEERS), app, PROCESSES=PROCESSES, WORKERS=WORKERS,
                                     GUNICORN="sync", GUNICORN_THREADS=1)
    client = Server(bench.place, "limit", "limit: what the client adds")
    client.start_limit("memory", bench.place.run / "naps/naps.py").ready("/")
    taken = [Taken(server) for server in servers + [client]]
    for number, one_plan in enumerate(planned):
        for one in taken:
            measure.progress("mixed: round {}/{} {}".format(number + 1, len(planned), one.server.label))
            one.round(one_plan)
    for server in servers + [client]:
        server.stop()
    measure.progress("mixed: done", end=True)
    as_asked = [latency for one_plan in planned for latency in arrivals.ideal(
        [one.at for one in one_plan], [one.milliseconds / 1000 for one in one_plan], PROCESSES)]
    rows = [["ideal, views as long as asked", "{:,}".format(len(as_asked))]
            + [report.time(at(as_asked, part)) for part in (0.5, 0.99, 1)] + ["–"] * 4 + ["0"]]
    text = ("Views that sleep, 95 % 1 ms and 5 % 100 ms, come by themselves (Poisson, seeded) as often as keeps {} processes busy for {:.0%} of "
            "the time; two workers. Ideal: a simulation of one queue, first in, first out, with the same arrivals and views as long as "
            "they were.").format(PROCESSES, BUSY)
    return report.Section("Fast views among slow ones", text, HEAD, rows + [line(one) for one in taken], goals(taken))


def goals(taken):
    by_name = {one.server.name: one for one in taken}
    own, gunicorn = by_name.get("hatchery"), by_name.get("gunicorn")
    found = [report.goal("mixed load: p99 × that of the single queue", times(own), 1.2)] if own else []
    if own and gunicorn:
        found.append(report.goal("mixed load: p99 × nginx + gunicorn", at(own.latencies, 0.99) / at(gunicorn.latencies, 0.99), 1.0))
    return found + ([report.goal("mixed load: failed", own.failed, 0)] if own else [])
