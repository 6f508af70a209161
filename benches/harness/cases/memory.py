"""What an idle Django site weighs, and five hundred that sleep."""
import threading
import time

from .. import client, measure, report
from ..processes import rollup
from ..servers import NotStarted, Server
from . import applications, resting

ABOUT = "PSS of whole process trees at rest, each server alone."
PROGRAMS = ["nginx", "uwsgi", "wrk"]
PYTHON = True
PARTS = ["site", "preload", "many"]


def weigh(server):
    total = resting.settle(server, 4)
    names = ", ".join(one.name for one in server.tree())
    return total, names


def site(bench):
    """The shop, not asked for a while; Hatchery also with its workers and app gone."""
    app, rows, goals = applications.shop(bench), [], []
    for label in ["hatchery"] + [one for one in applications.STACKS if bench.options.peers is None and not bench.quick]:
        measure.progress("memory: " + label)
        server = applications.start(bench, label, app) if applications.installed(bench, label) else None
        if server:
            total, names = weigh(server)
            rows.append(["**{}**".format(label) if label == "hatchery" else label, report.megabytes(total), names])
            server.stop()
    server = applications.start(bench, "hatchery", app, file="cheap.ron", IDLE="2s")
    if server:
        alone = wait_for_sleep(server, 20)
        total, names = weigh(server)
        rows.append(["**hatchery, asleep**", report.megabytes(total), names + ("" if alone else " (did not fall asleep)")])
        goals.append(report.goal("Django site scaled to zero, cheap workers, no template", total / 1e6, 3, " MB"))
        server.stop()
    text = "The Django shop after its first request, at rest. Asleep: after the workers and the app have left."
    return report.Section("An idle Django site", text, ["server", "PSS", "processes"], rows, goals)


def preload(bench):
    """Four processes of the shop, all of which have served: each with its own import, and forked from a template."""
    app, rows, found = applications.shop(bench), [], {}
    for title, value in (("four processes", "false"), ("four processes, `preload: true`", "true")):
        measure.progress("memory: " + title)
        server = applications.start(bench, "hatchery", app, file="four.ron", PRELOAD=value)
        if server is None:
            return None
        # Many at once, so that every process gets some.
        for _ in range(20):
            threads = [threading.Thread(target=client.get, args=(server.port, app.path), kwargs={"host": "localhost"}) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        resting.settle(server, 4)
        # The parent and the worker are the same in both.
        ours = [one for one in server.tree() if one.name.startswith("app ")]
        template = [one for one in ours if "template" in title_of(one.pid)]
        of_template = sum(rollup(one.pid, "Pss") for one in template)
        total = sum(rollup(one.pid, "Pss") for one in ours) - of_template
        found[value] = total, of_template
        rows.append([title, report.megabytes(total), report.megabytes(of_template) if template else "–"])
        server.stop()
    alone, (shared, of_template) = found["false"][0], found["true"]
    goals = [report.goal("four preloaded processes: part of the memory of four separate ones", shared / alone, 0.6, ""),
             report.goal("the same with the template", (shared + of_template) / alone, 0.75, "")]
    text = "PSS of the four processes of the Django shop after 160 requests."
    return report.Section("Preloaded and separate processes", text, ["", "processes", "template"], rows, goals)


def title_of(pid):
    """What `ps` shows of a process."""
    with open("/proc/{}/cmdline".format(pid), "rb") as file:
        return file.read().decode("utf-8", "replace")


def wait_for_sleep(server, seconds):
    """Until the master is alone."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if len(server.tree()) == 1:
            return True
        time.sleep(0.1)
    return False


def many(bench, count=500):
    """So many applications that nobody asks: how long the start takes, what they weigh."""
    hello = applications.hello(bench)
    server = Server(bench.place, "hatchery", "hatchery, many")
    apps = "\n".join('        "app{0}": (module: "hello:application", chdir: "{1}", home: "{2}", processes: (min: 0, max: 1)),'.format(
        number, hello.directory, bench.place.venv) for number in range(count))
    locations = "\n".join('        (path: "/app{0}/", to: App(name: "app{0}", mount: "/app{0}")),'.format(number) for number in range(count))
    conf = server.configure("memory", "many.ron", APPS=apps, LOCATIONS=locations)
    began = time.monotonic()
    server.spawn(server.command("hatchery", conf))
    try:
        server.ready("/robots.txt")
    except NotStarted as error:
        bench.left_out("{} apps".format(count), error)
        server.stop()
        return None
    took = time.monotonic() - began
    total, names = weigh(server)
    server.stop()
    goals = [report.goal("{} apps with `min: 0`: seconds to start".format(count), took, 1, " s"),
             report.goal("{} apps with `min: 0`: PSS".format(count), total / 1e6, 10, " MB")]
    return report.Section("{} sleeping applications".format(count), "", ["server", "to the first answer", "PSS", "processes"],
                          [["**hatchery**", "{:.2f} s".format(took), report.megabytes(total), names]], goals)


def run(bench):
    sections = [site(bench)] if bench.parts(["site"]) else []
    for part, make in (("preload", preload), ("many", many)):
        found = make(bench) if bench.parts([part]) else None
        sections += [found] if found else []
    return sections, []
