"""User-mode instructions per request of Hatchery: exact, whatever else the machine does."""
import re
import shutil

from . import client, measure, report
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


def instructions(bench, name, path, count):
    server = bench.server(Counted(bench.place, name, "{} under callgrind".format(name)))
    server.start("static").ready(path, seconds=60)
    client.ask(server.port, path, count)
    server.stop(patience=30)
    return server.total(), server.run


def per_request(bench, name, path, count):
    """The difference of two runs divided by the difference of their requests: start and stop cancel out. None when it
    could not be counted."""
    try:
        (less, _), (more, run) = instructions(bench, name, path, count), instructions(bench, name, path, 2 * count)
    except NotStarted as error:
        bench.left_out("callgrind" if name == "hatchery" else name + " under callgrind", error)
        return None
    bench.keep(run, "callgrind.*", "callgrind" + ("-" + name if name != "hatchery" else "") + path.replace("/", "-"))
    return (more - less) / count


def section(bench):
    """One row a path; beside it what the older binary takes."""
    if not shutil.which("valgrind"):
        bench.left_out("callgrind", "valgrind is missing")
        return []
    count, rows, goals = 500 if bench.quick else 2000, [], []
    paths = list(PATHS)[:1] if bench.quick else PATHS
    for path in paths:
        measure.progress("instructions: " + path)
        own = per_request(bench, "hatchery", path, count)
        if own is None:
            return []
        title, ceiling = PATHS[path]
        rows.append([title, "{:,.0f}".format(own)])
        goals.append(report.goal("{}: user-mode instructions".format(title), own, ceiling))
        if bench.options.before:
            before = per_request(bench, "before", path, count)
            rows[-1] += ["–", "–"] if before is None else ["{:,.0f}".format(before), "{:.3f}".format(own / before)]
    measure.progress("instructions: " + ", ".join(" ".join(row) for row in rows), end=True)
    text = "User-mode, under callgrind, one connection, one request at a time: ({:,} − {:,} requests) / {:,}.".format(2 * count, count, count)
    head = ["request", "instructions"] + (["before", "× before"] if bench.options.before else [])
    return [report.Section("Instructions per request", text, head, rows, goals)]
