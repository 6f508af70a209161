"""Applications under loads that hurt: mixed views, slow clients, large bodies, processes that die."""
from . import deaths, drip, large, mixed, slow

ABOUT = "WSGI applications on loopback: the server and its application on one core, clients on the other."
PROGRAMS = ["wrk", "nginx", "uwsgi"]
PYTHON = True
PARTS = {"mixed": mixed, "slow": slow, "drip": drip, "large": large, "deaths": deaths}


def run(bench):
    return [PARTS[part].section(bench) for part in bench.parts(PARTS)], [
        "The clients of `mixed`, `slow`, `drip` and `deaths` are the harness's own: arrivals.py, trickle.py and cases/deaths.py.",
        "Memory that the kernel keeps for sockets is in no process, so it is not counted.",
    ]
