"""User-mode instructions per request of Hatchery: exact, whatever else the machine does."""
import re
import shutil

from . import client, load, measure, report
from .servers import FILES, NotStarted, Server

# Path → how a table calls it, and the most instructions that are accepted: about a tenth above what they were when the
# ceiling was set.
PATHS = {"/1k.txt": ("1 KiB file", 8400), "/100k.txt": ("100 KiB file", 8900), "/missing.txt": ("404", 8300)}


class Counted(Server):
    """Hatchery under callgrind."""

    def start(self, case, **more):
        conf = self.configure(case, FILES[self.name], **more)
        # In a file: what stands on the command line is gone when Hatchery writes its process title over it.
        options = self.run / ".valgrindrc"
        options.write_text("--callgrind:callgrind-out-file={}/callgrind.%p\n".format(self.run))
        options.chmod(0o644)
        self.spawn(["valgrind", "--tool=callgrind", "--trace-children=yes", "--quiet"] + self.command(self.name, conf),
                   cwd=str(self.run))
        return self

    def total(self):
        """Instructions of master and worker from start to end."""
        texts = [path.read_text(errors="replace") for path in self.run.glob("callgrind.*")]
        found = [re.findall(r"^totals: (\d+)", text, re.M) for text in texts]
        if len(texts) < 2 or not all(found):
            raise NotStarted("callgrind left no totals of master and worker:\n" + self.said())
        return sum(int(one[-1]) for one in found)


def one_by_one(server, path, count):
    """Requests of HTTP/1.1, one after the other on one connection."""
    client.ask(server.port, path, count)


def together(server, path, count):
    """Requests of HTTP/2, as the measurements of it ask them."""
    load.Exactly(server.url(path), server.place.run / "load.log", count).result()


def instructions(bench, name, path, count, ask):
    server = bench.server(Counted(bench.place, name, "{} under callgrind".format(name)))
    server.start("static").ready(path, seconds=60)
    ask(server, path, count)
    server.stop(patience=30)
    return server.total(), server.run


def per_request(bench, name, path, count, ask):
    """The difference of two runs divided by the difference of their requests: start and stop cancel out. None when it
    could not be counted."""
    try:
        (less, _), (more, run) = instructions(bench, name, path, count, ask), instructions(bench, name, path, 2 * count, ask)
    except NotStarted as error:
        bench.left_out("callgrind" if name == "hatchery" else name + " under callgrind", error)
        return None
    kind = "-" + ask.__name__ if ask is not one_by_one else ""
    bench.keep(run, "callgrind.*", "callgrind" + kind + ("-" + name if name != "hatchery" else "") + path.replace("/", "-"))
    return (more - less) / count


def section(bench, paths=PATHS, ask=one_by_one, how="one connection, one request at a time"):
    """One row a path; beside it what the older binary takes."""
    if not shutil.which("valgrind"):
        bench.left_out("callgrind", "valgrind is missing")
        return []
    count, rows, goals = 500 if bench.quick else 2000, [], []
    count *= 1 if ask is one_by_one else 8
    for path in list(paths)[:1] if bench.quick else paths:
        measure.progress("instructions: " + path)
        own = per_request(bench, "hatchery", path, count, ask)
        if own is None:
            return []
        title, ceiling = paths[path]
        rows.append([title, "{:,.0f}".format(own)])
        goals.append(report.goal("{}: user-mode instructions".format(title), own, ceiling))
        if bench.options.before:
            before = per_request(bench, "before", path, count, ask)
            rows[-1] += ["–", "–"] if before is None else ["{:,.0f}".format(before), "{:.3f}".format(own / before)]
    measure.progress("instructions: " + ", ".join(" ".join(row) for row in rows), end=True)
    text = "User-mode, under callgrind, {}: ({:,} − {:,} requests) / {:,}.".format(how, 2 * count, count, count)
    head = ["request", "instructions"] + (["before", "× before"] if bench.options.before else [])
    return [report.Section("Instructions per request", text, head, rows, goals)]
