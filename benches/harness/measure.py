"""Rounds in alternation and their medians."""
import collections
import statistics
import sys

from . import load

Sample = collections.namedtuple("Sample", "rate cpu switches busy p50 p99 failed")


class Row:
    """What was measured of one server in one table."""

    def __init__(self, server):
        self.server, self.label, self.samples, self.pss = server, server.label, [], None

    def median(self, field):
        return statistics.median(getattr(one, field) for one in self.samples)

    def spread(self, field="cpu"):
        """Half the distance between the quartiles of CPU per request, or another field, relative to the median."""
        values = sorted(getattr(one, field) for one in self.samples)
        if len(values) < 4:
            return 0.0
        low, _, high = statistics.quantiles(values, n=4)
        return (high - low) / 2 / statistics.median(values)

    @property
    def cpu(self):
        return self.median("cpu")


def once(server, path, seconds, connections=64, fields=(), script="report.lua", during=None, cores=None, loader=None, starves=False):
    """One load on one server: of wrk, or what `loader` makes. One that `starves` may get no answer at all."""
    before, switched = server.cpu(), server.switches()
    log = server.place.run / "load.log"
    if loader:
        running = loader(server, path, log, seconds)
    else:
        running = load.Wrk(server.url(path), log, connections, seconds, fields, script, cores)
    if during:
        during()
    counted = running.result()
    used, switched = server.cpu() - before, server.switches() - switched
    if not counted.requests and not starves:
        raise SystemExit("{} answered nothing on {}:\n{}".format(server.label, path, server.said()))
    requests = max(counted.requests, 1)
    return Sample(counted.requests / counted.seconds, used / requests * 1e6, switched / requests, used / counted.seconds,
                  counted.p50, counted.p99, counted.failed)


def rounds(title, servers, path, count, seconds, fields=None, **load_options):
    """All servers in turn, `count` times."""
    rows = [Row(server) for server in servers]
    for number in range(count):
        for row in rows:
            progress("{}: round {}/{} {}".format(title, number + 1, count, row.label))
            own = fields(row.server) if fields else ()
            row.samples.append(once(row.server, path, seconds, fields=own, **load_options))
            if not row.server.alive():
                raise SystemExit("{} died:\n{}".format(row.label, row.server.said()))
    for row in rows:
        row.pss = row.server.pss()
    progress("{}: {}".format(title, ", ".join("{} {:.2f}".format(row.label, row.cpu) for row in rows)), end=True)
    return rows


def progress(text, end=False):
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K" + text + ("\n" if end else ""))
    elif end:
        sys.stderr.write(text + "\n")
    sys.stderr.flush()
