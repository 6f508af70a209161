"""Memory of servers at rest, and of connections that nobody uses."""
import time

from .. import client, measure, report


def settle(server, seconds):
    """PSS when it has stopped changing, or after so many seconds."""
    deadline, last = time.monotonic() + seconds, None
    while True:
        time.sleep(0.3)
        now = server.pss()
        if now == last or time.monotonic() > deadline:
            return now
        last = now


def memory(bench, start, names):
    """Each server alone: PSS after one request, and what an idle connection adds."""
    count, rows, weights, found = 1000 if bench.quick else 10000, [], [], []
    for name in names:
        measure.progress("memory: " + name)
        # Some servers allocate all connections at the start: weighed idle with room for a thousand.
        for server in start(bench, [name], connections=1000):
            idle, processes = settle(server, 3), len(server.tree())
            server.stop()
        for server in start(bench, [name]):
            before = settle(server, 3)
            # The harness grows with its own connections; only the server's tree is weighed.
            try:
                kept = client.idle_connections(server.port, "/1k.txt", count)
                each = (settle(server, 3) - before) / count
            except OSError as error:
                bench.left_out("{} with {:,} connections".format(name, count), error)
                kept, each = [], float("nan")
            for connection in kept:
                connection.close()
            server.stop()
            own = name == "hatchery"
            weights.append((idle, each))
            rows.append(["**hatchery**" if own else name, report.megabytes(idle), str(processes), "–" if each != each else "{:,.0f}".format(each)])
            if own:
                found.append(report.goal("idle PSS of master and one worker", idle / 1e6, 4, " MB"))
                found.append(report.goal("bytes per idle keep-alive connection", each, 512, " B"))
    measure.progress("memory: done", end=True)
    head = ["server", "idle PSS", "processes", "bytes per idle connection"]
    # The later column first: its place does not move.
    report.times_before(head, rows, 4, [each for _, each in weights], "connection × before")
    report.times_before(head, rows, 2, [idle for idle, _ in weights], "PSS × before")
    text = "PSS after the first request, each server alone, with room for 1,000 connections; then, with room for 12,000, what each " \
           "of {:,} connections adds that served one request.".format(count)
    return [report.Section("Memory", text, head, rows, found)]
