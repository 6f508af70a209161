"""CGI programs: one of C and one of Python, by Hatchery, Apache and lighttpd."""
import os
import shutil
import subprocess
import sys

from .. import measure, report, servers
from ..processes import SERVER_CORES, TICKS
from ..servers import NotStarted, Server
from .wsgi import local, same_bytes

ABOUT = "CGI on loopback: server and programs on one core, wrk with 16 connections on the other."
PROGRAMS = ["wrk", "apache2", "lighttpd", "cc"]
PEERS = ["apache2", "lighttpd"]
TABLES = {"hello": ("a program of C that says hello", "/cgi-bin/hello"), "python": ("a program of Python", "/cgi-bin/hello.py")}
PARTS = list(TABLES)
CONNECTIONS = 16


class Pinned(Server):
    """Counted by its core: of a program nobody waits for, as of those of Apache's mod_cgid, the tree has no time."""

    def cpu(self):
        return busy(SERVER_CORES)


def busy(cores):
    """Seconds that these cores have worked so far, for processes or the kernel."""
    wanted, ticks = {"cpu{}".format(core) for core in cores}, 0
    with open("/proc/stat") as file:
        for line in file:
            name, *fields = line.split()
            if name in wanted:
                user, nice, system, _, _, interrupts, soft = (int(field) for field in fields[:7])
                ticks += user + nice + system + interrupts + soft
    return ticks / TICKS


def programs(bench):
    """The directory with both, which all servers have in common."""
    directory, peers = bench.place.run / "cgi-bin", servers.BENCHES / "peers/cgi"
    if directory.exists():
        return directory
    directory.mkdir()
    # Statically: the linker of the system would take more time than the program.
    subprocess.run(["cc", "-O2", "-static", "-o", str(directory / "hello"), str(peers / "hello.c")], check=True)
    python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
    script = directory / "hello.py"
    script.write_text("#!{} -IS\n{}".format(python, (peers / "hello.py").read_text()))
    script.chmod(0o755)
    return directory


def start(bench, names):
    started, root = [], programs(bench)
    for name in names:
        server = Pinned(bench.place, name)
        try:
            server.start("cgi", ROOT=root, CONNECTIONS=1000).ready("/cgi-bin/hello", wanted=200, host="localhost")
            started.append(server)
        except NotStarted as error:
            server.stop()
            bench.left_out(name, error)
    return started


def goals_of(title, rows):
    own, found = report.by_name(rows, "hatchery"), []
    for peer in PEERS:
        other = report.by_name(rows, peer)
        if own and other:
            found.append(report.goal("{}: requests a second × {}".format(title, peer), own.median("rate") / other.median("rate"), 1.0, more=True))
    return found


def run(bench):
    if not shutil.which("cc"):
        raise SystemExit("cc is needed for the program of C; see above")
    started, sections = start(bench, bench.chosen(bench.ours() + PEERS)), []
    for part in bench.parts(PARTS):
        title, path = TABLES[part]
        same_bytes(started, path)
        rows = measure.rounds(title, started, path, bench.rounds, bench.seconds, local, connections=CONNECTIONS)
        sections.append(report.rated(title, "", rows, goals_of(title, rows)))
    for server in started:
        server.stop()
    return sections, [
        "CPU is that of the server's core as the kernel counts it, whoever worked there: programs of Apache's mod_cgid are waited for by "
        "nobody, and their time is in no process. So it holds on a machine that does nothing else.",
        "Apache runs mod_cgid with mpm_event, lighttpd mod_cgi; each request is one process of the program.",
    ]
