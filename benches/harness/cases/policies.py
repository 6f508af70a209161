"""What rules cost: a static file with and without access and limits."""
from .. import measure, report
from ..servers import NotStarted, Server
from . import static

ABOUT = "A 1 KiB file on loopback, with three networks allowed and a rate for each client, and without: one worker on one core."
PROGRAMS = ["wrk", "nginx"]
PARTS = ["access-and-limits"]
BOUND = 0.3


def run(bench):
    static.make_files(bench.place.root)
    servers = []
    for name in bench.chosen(bench.ours() + ["nginx"]):
        for case, label in (("static", "{} without"), ("policies", "{}")):
            server = Server(bench.place, name, label.format(name))
            try:
                server.start(case, CONNECTIONS=4000).ready("/1k.txt", wanted=200)
                servers.append(server)
            except NotStarted as error:
                server.stop()
                bench.left_out(label.format(name), error)
    rows = measure.rounds("access and limits", servers, "/1k.txt", bench.rounds * 2, bench.seconds)
    for server in servers:
        server.stop()
    by_label = {row.label: row for row in rows}
    goals = []
    if "hatchery" in by_label and "hatchery without" in by_label:
        added = by_label["hatchery"].cpu - by_label["hatchery without"].cpu
        goals.append(report.goal("access and limits: CPU added to a request", added, BOUND, " µs"))
    return [report.rated("1 KiB file, with and without access and limits", "", rows, goals)], []
