"""What it costs to read a configuration of many sites, and how that grows."""
import math
import os
import subprocess

from .. import measure, report

ABOUT = "CPU of `hatchery check`, user and system: the least of some runs, each of a process of its own."
PROGRAMS = []
PARTS = ["one", "each"]
COUNTS = [500, 1000, 2000, 4000]


def site(number, static):
    return """(names: ["s{0}.example", "www.s{0}.example"], listen: ["127.0.0.1:8000"], locations: [
        (path: "/static/", to: Files("{1}")), (path: "/api/", to: Proxy("u{0}")),
        (path: "/", to: Redirect(status: 301, location: "https://s{0}.example$rest"))])""".format(number, static)


def write(directory, count, each):
    """One file with so many sites and upstreams, or one for each site."""
    static = directory / "static"
    static.mkdir(parents=True)
    sites = [site(number, static) for number in range(count)]
    upstreams = ", ".join('"u{}": (servers: ["127.0.0.1:{}"])'.format(number, 10000 + number) for number in range(count))
    if each:
        (directory / "sites").mkdir()
        for number, text in enumerate(sites):
            (directory / "sites" / "{}.ron".format(number)).write_text("(sites: [{}])".format(text))
    here, include = ("", 'include: ["sites/*.ron"]') if each else (",\n".join(sites), "include: []")
    path = directory / "hatchery.ron"
    user = 'user: "nobody", ' if os.geteuid() == 0 else ""
    path.write_text("({}sites: [{}], upstreams: {{{}}}, {})".format(user, here, upstreams, include))
    return path


def cost(program, path):
    """Seconds of CPU of one `check`, which must find nothing wrong."""
    child = subprocess.Popen([str(program), "check", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = child.stderr.read().decode("utf-8", "replace")
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = status
    if status != 0:
        raise SystemExit("hatchery check {}: {}".format(path, said[:1000]))
    return usage.ru_utime + usage.ru_stime


def section(bench, title, each):
    rounds, found = 2 if bench.quick else bench.rounds, {}
    paths = {count: write(bench.place.run / "reading-{}-{}".format("each" if each else "one", count), count, each) for count in COUNTS}
    for number in range(rounds):
        measure.progress("{}: {}/{}".format(title, number + 1, rounds))
        for count, path in paths.items():
            found[count] = min(found.get(count, math.inf), cost(bench.place.hatchery, path))
    measure.progress(title + ": done", end=True)
    rows, before = [], None
    for count in COUNTS:
        grown = "–" if before is None else "{:.2f}".format(math.log2(found[count] / before))
        rows.append(["{:,}".format(count), "{:.0f} ms".format(found[count] * 1000), "{:.0f} µs".format(found[count] / count * 1e6), grown])
        before = found[count]
    exponent = math.log(found[COUNTS[-1]] / found[COUNTS[0]], COUNTS[-1] / COUNTS[0])
    goal = report.goal("{}: exponent from {:,} to {:,} sites".format(title, COUNTS[0], COUNTS[-1]), exponent, 1.15)
    text = "The exponent says how the time grows with the sites: 1 is twice the time for twice as many, 2 four times."
    return report.Section(title, text, ["sites", "CPU", "a site", "exponent"], rows, [goal])


def run(bench):
    wanted = bench.parts(PARTS)
    titles = {"one": "All sites in one file", "each": "A file for each site"}
    return [section(bench, titles[part], part == "each") for part in wanted], []
