"""One request at a time: what is done for many at once must cost one alone nothing. Part of the case wsgi."""
from .. import measure, report
from . import applications


def sections(bench):
    return [section(bench, "hello", applications.hello(bench)), section(bench, "Django", applications.shop(bench))]


def section(bench, name, app):
    title = name + ", one request alone"
    servers = applications.start_all(bench, applications.wanted(bench, ["granian"]), app)
    rows = measure.rounds(title, servers, app.path, bench.rounds, bench.seconds, lambda server: [("Host", "localhost")], connections=1)
    for server in servers:
        server.stop()
    text = "wrk -c1. Within the noise is what differs from before by no more than the spread of the rounds, or by 2 %."
    return report.rated(title, text, rows, report.not_worse(title, rows, ("cpu", "p50", "p99")))
