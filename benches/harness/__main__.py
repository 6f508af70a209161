"""The command line: which cases, how many rounds, where the results go."""
import argparse
import fcntl
import importlib
import os
import pathlib
import shlex
import shutil
import signal
import sys
import tempfile
import time

from . import chart, install, machine, processes, report, servers

CASES = ["static", "proxy", "cache", "compress", "policies", "flood", "failover", "tls", "h2", "wsgi", "asgi", "cgi", "load", "reload", "memory", "wake", "reading"]
REPOSITORY = servers.BENCHES.parent


class Bench:
    """What a case needs: the options, the place, and the servers to end."""

    def __init__(self, options, place):
        self.options, self.place, self.quick = options, place, options.quick
        self.rounds, self.seconds = options.rounds, 1 if options.quick else 2
        self.missing, self.wanted_parts, self.versions = [], None, {}

    def server(self, server):
        return server

    def parts(self, all_parts):
        """Those of `all_parts` that were asked for."""
        return [part for part in all_parts if not self.wanted_parts or part in self.wanted_parts]

    def ours(self):
        """Hatchery, and the older one when there is one."""
        return [name for name in servers.OURS if name == "hatchery" or self.options.before]

    def chosen(self, names):
        """Those of the servers that were asked for and are there; our own always."""
        found = []
        for name in names:
            if name not in servers.OURS and self.options.peers is not None and name not in self.options.peers:
                continue
            if servers.find(self.place, name):
                found.append(name)
                self.versions[name] = servers.version(self.place, name)
            else:
                self.left_out(name, "not installed")
        return found

    def left_out(self, name, reason):
        first = str(reason).strip().splitlines()[0]
        line = "{} is left out: {}".format(name, first)
        if line not in self.missing:
            self.missing.append(line)
            sys.stderr.write("{} is left out: {}\n".format(name, str(reason).strip()))

    def keep(self, directory, pattern, name):
        """Moves files worth reading later out of the temporary directory."""
        kept = self.place.target / name
        shutil.rmtree(str(kept), ignore_errors=True)
        kept.mkdir(parents=True)
        for path in directory.glob(pattern):
            shutil.copy(str(path), str(kept))


def binary(text):
    """A program to measure; absolute, for servers may start in another directory."""
    path = pathlib.Path(text).resolve()
    if not path.is_file() or not os.access(str(path), os.X_OK):
        raise argparse.ArgumentTypeError("no program: {}".format(path))
    return path


def arguments():
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measures Hatchery beside its peers, on loopback, one core each for server and client.",
        epilog="Cases: {}. A part of a case: static/1k, static/memory. Results of whole cases go to benches/results/, "
               "those of parts and of --quick to target/bench/results/.".format(", ".join(CASES)))
    parser.add_argument("cases", nargs="*", default=CASES, metavar="case", help="what to measure [default: everything]")
    parser.add_argument("--rounds", type=int, help="rounds in alternation [default: 9]")
    parser.add_argument("--quick", action="store_true", help="one or three short rounds: to see that all works, not to quote")
    parser.add_argument("--peers", help="compare with these only: nginx,h2o")
    parser.add_argument("--output", type=pathlib.Path, help="directory for the pages and charts")
    parser.add_argument("--hatchery", type=binary, metavar="BINARY", help="measure this binary instead of building one")
    parser.add_argument("--before", type=binary, metavar="BINARY",
                        help="measure this older binary too, as `before`; static, proxy, wsgi, asgi, cgi and load do, the other cases ignore it")
    options = parser.parse_args()
    options.peers = None if options.peers is None else [name for name in options.peers.split(",") if name]
    options.wanted = {}
    for one in options.cases:
        case, _, part = one.partition("/")
        if case not in CASES:
            parser.error("no case {}; there are {}".format(case, ", ".join(CASES)))
        known = importlib.import_module(__package__ + ".cases." + case).PARTS
        if part and part not in known:
            parser.error("{} has no part {}; it has {}".format(case, part, ", ".join(known) or "none"))
        options.wanted.setdefault(case, set()).update({part} - {""})
    options.rounds = options.rounds or ((3 if len(options.wanted) == 1 else 1) if options.quick else 9)
    return options


def measure_case(bench, case, module, partial):
    """Runs one case and writes its page and chart."""
    started = time.monotonic()
    sections, notes = module.run(bench)
    print(report.plain(sections))
    for line in bench.missing:
        print("  " + line)
    facts = machine.describe(REPOSITORY) + [
        ("versions", ", ".join("{} {}".format(*pair) for pair in bench.versions.items())),
        ("rounds", "{} of {} s each, medians; {:.1f} minutes in all; load average at the start {:.1f}".format(
            bench.rounds, bench.seconds, (time.monotonic() - started) / 60, bench.load)),
    ]
    directory = bench.options.output or (
        bench.place.target / "results" if bench.quick or partial or bench.options.peers is not None
        else servers.BENCHES / "results")
    directory.mkdir(parents=True, exist_ok=True)
    command = " ".join(shlex.quote(one) for one in ["./scripts/bench"] + sys.argv[1:])
    page = report.page(case, module.ABOUT, command, facts, sections, notes + bench.missing)
    (directory / (case + ".md")).write_text(page)
    drawn = chart.draw(sections)
    if drawn:
        (directory / (case + ".svg")).write_text(drawn)
    print("\nwritten: {}".format(directory / (case + ".md")))


def prepare(options, modules):
    """Programs, builds and directories."""
    target = install.target_directory(REPOSITORY)
    target.mkdir(parents=True, exist_ok=True)
    install.packages(sorted({name for module in modules.values() for name in module.PROGRAMS}))
    if not shutil.which("wrk"):
        raise SystemExit("wrk is needed; see above")
    hatchery, limit = install.build(REPOSITORY, target, options.hatchery)
    run = pathlib.Path(tempfile.mkdtemp(prefix="hatchery-bench-"))
    run.chmod(0o755)
    place = servers.Place(target, run, hatchery, options.before, limit)
    if any(getattr(module, "PYTHON", False) for module in modules.values()):
        install.virtualenvs(place)
    return place


def interrupted(number, frame):
    raise KeyboardInterrupt


def main():
    options = arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    modules = {case: importlib.import_module(__package__ + ".cases." + case) for case in CASES if case in options.wanted}
    load = machine.load_average()
    place = prepare(options, modules)
    lock = open(str(place.target / "lock"), "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise SystemExit("another comparison runs; two at a time measure each other")
    processes.prepare()
    if len(processes.CORES) < 2:
        sys.stderr.write("Only one core: server and client share it, the numbers are of little use.\n")
    try:
        for case, module in modules.items():
            bench = Bench(options, place)
            bench.wanted_parts, bench.load = options.wanted[case], load
            measure_case(bench, case, module, bool(options.wanted[case]))
            processes.stop_all()
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        return 130
    finally:
        processes.stop_all()
        shutil.rmtree(str(place.run), ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
