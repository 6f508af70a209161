"""The front on one core and its application on another, against both on one. Part of the case wsgi."""
from .. import measure, report
from ..processes import CLIENT_CORES, pin
from . import applications

TEXT = ("The same processes: once all on the first core; once the application on the last one, which it shares with wrk, so that each "
        "hand-over wakes the other core. What wrk takes of that core the application has not: compare CPU, not requests a second.")


def apart(server):
    """Its application leaves the front's core."""
    server.label += ", apart"
    for one in applications.app_processes(server):
        pin(one.pid, CLIENT_CORES)


def section(bench):
    app, title = applications.hello(bench), "hello on two cores"
    labels = applications.wanted(bench, ["nginx + uWSGI"])
    together, other = (applications.start_all(bench, labels, app) for _ in range(2))
    for server in other:
        apart(server)
    rows = measure.rounds(title, together + other, app.path, bench.rounds, bench.seconds, lambda server: [("Host", "localhost")])
    for server in together + other:
        server.stop()
    lines, goals, parted = [], [], {row.server.name: row for row in rows[len(together):]}
    for one in rows[:len(together)]:
        if one.server.name not in parted:
            continue
        two = parted[one.server.name]
        own, ratio = one.server.name == "hatchery", two.cpu / one.cpu
        lines.append(["**hatchery**" if own else one.label] + ["{:.2f}".format(row.cpu) for row in (one, two)] + ["{:.2f}".format(ratio)]
                     + ["{:.3f}".format(row.median("switches")) for row in (one, two)]
                     + ["{:,.0f}".format(row.median("rate")) for row in (one, two)]
                     + [str(sum(sample.failed for row in (one, two) for sample in row.samples))])
        if own:
            goals.append(report.goal("hello: CPU on two cores × that on one", ratio, 1.2))
    head = ["server", "CPU µs, one", "CPU µs, two", "ratio", "switches, one", "switches, two", "requests/s, one", "requests/s, two", "failed"]
    return report.Section("hello, front and application on two cores", TEXT, head, lines, goals)
