"""Servers: how each is configured (from benches/peers/), started and asked for its version."""
import os
import pathlib
import re
import shutil
import socket
import subprocess
import time

from . import client
from .processes import Process

BENCHES = pathlib.Path(__file__).resolve().parent.parent


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Place:
    """Where things are: directories, programs, the user that servers become."""

    def __init__(self, target, run, hatchery, before, limit):
        self.target, self.run, self.hatchery, self.before, self.limit = target, run, hatchery, before, limit
        # Of the Python servers and their apps, and of caddysnake, which may want a newer Python.
        self.venv, self.snake = target / "venv", target / "venv-caddysnake"
        self.root = run / "files"
        self.as_root = os.geteuid() == 0
        self.user, self.group = ("nobody", "nogroup") if self.as_root and reachable(target) else ("root", "root")


def reachable(path):
    """Whether other users can enter a directory and all above it."""
    return all(part.stat().st_mode & 0o001 for part in [path, *path.parents])


def fill(template, values, as_root):
    """A configuration with its @NAMES@ filled in."""
    lines = template.splitlines()
    if not as_root:
        lines = [line for line in lines if "@AS_ROOT@" not in line]
    text = re.sub(r" *(#|//) *@AS_ROOT@", "", "\n".join(lines)) + "\n"
    missing = set(re.findall(r"@([A-Z_]+)@", text)) - set(values)
    if missing:
        raise SystemExit("a configuration in benches/peers/ has unknown names: " + ", ".join(sorted(missing)))
    return re.sub(r"@([A-Z_]+)@", lambda found: str(values[found.group(1)]), text)


# Hatchery, and an older one of --before: the same configuration, no peers.
OURS = ("hatchery", "before")
# The program, its arguments (with @CONF@) and how it tells its version, by name of the server.
PROGRAMS = {
    "nginx": ("nginx", ["-e", "stderr", "-p", "@RUN@", "-c", "@CONF@"], ["-v"]),
    "h2o": ("h2o", ["-c", "@CONF@"], ["-v"]),
    "lighttpd": ("lighttpd", ["-D", "-f", "@CONF@"], ["-v"]),
    "haproxy": ("haproxy", ["-db", "-f", "@CONF@"], ["-v"]),
    "varnishd": ("varnishd", ["-F", "-a", "127.0.0.1:@PORT@", "-f", "@CONF@", "-n", "@RUN@/varnish", "-s", "malloc,64m", "-j", "none",
                              "-p", "thread_pools=1", "-p", "timeout_idle=600"], ["-V"]),
    "apache2": ("apache2", ["-D", "FOREGROUND", "-f", "@CONF@"], ["-v"]),
    "caddy": ("caddy", ["run", "--config", "@CONF@", "--adapter", "caddyfile"], ["version"]),
    "hatchery": ("hatchery", ["run", "-c", "@CONF@"], ["--version"]),
    "before": ("before", ["run", "-c", "@CONF@"], ["--version"]),
    "uwsgi": ("uwsgi", ["--ini", "@CONF@"], ["--version"]),
}
FILES = {"nginx": "nginx.conf", "h2o": "h2o.yaml", "lighttpd": "lighttpd.conf", "haproxy": "haproxy.cfg",
         "apache2": "apache2.conf", "caddy": "Caddyfile", "varnishd": "varnish.vcl",
         "hatchery": "hatchery.ron", "before": "hatchery.ron", "uwsgi": "uwsgi.ini"}


def find(place, name):
    """The path of a program, or None."""
    if name in OURS:
        return str(place.hatchery if name == "hatchery" else place.before)
    in_venv = (place.snake if name == "caddysnake" else place.venv) / "bin" / name
    return str(in_venv) if in_venv.exists() else shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")


def version(place, name):
    """What a program calls itself: its first number with dots."""
    program = find(place, name)
    if not program:
        return "missing"
    argv = [program] + (PROGRAMS[name][2] if name in PROGRAMS else ["--version"])
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    found = re.search(r"\d+(\.\d+)+\S*", done.stdout)
    return found.group(0).rstrip(",)") if found else "unknown"


class Server:
    """One server on a port of its own; its processes are started together and ended together."""

    def __init__(self, place, name, label=None, port=None):
        self.place, self.name, self.label, self.port = place, name, label or name, port or free_port()
        self.processes, self.cores = [], None
        # With a context its port is one of TLS; `plain` is a second one without.
        self.context, self.plain = None, None
        self.run = place.run / re.sub(r"\W+", "-", "{}-{}".format(self.label, self.port))
        self.run.mkdir()
        # Sticky: nobody else can put a configuration in the place of ours, which Hatchery insists on.
        self.run.chmod(0o1777)
        self.log = self.run / "log"

    def values(self, **more):
        values = dict(PORT=self.port, ROOT=self.place.root, RUN=self.run, USER=self.place.user, GROUP=self.place.group,
                      WORKERS=1, LIGHTTPD_WORKERS=0, CONNECTIONS=4000, VENV=self.place.venv, PROCESSES=1, GUNICORN="gthread",
                      GUNICORN_THREADS=4)
        values.update(more)
        values["FILES"] = values["CONNECTIONS"] + 500
        return values

    def configure(self, case, file, **more):
        """Writes a configuration; returns its path."""
        path = self.run / file
        template = (BENCHES / "peers" / case / file).read_text()
        path.write_text(fill(template, self.values(**more), self.place.as_root))
        return path

    def command(self, name, conf):
        program, arguments, _ = PROGRAMS[name]
        return [find(self.place, program)] + [
            one.replace("@CONF@", str(conf)).replace("@RUN@", str(self.run)).replace("@PORT@", str(self.port)) for one in arguments]

    def spawn(self, argv, cwd=None, env=None):
        env = dict(os.environ if env is None else env, XDG_CONFIG_HOME=str(self.run), XDG_DATA_HOME=str(self.run))
        process = Process([str(one) for one in argv], self.cores, cwd=cwd, env=env, log=self.log)
        self.processes.append(process)
        return process

    def start(self, case, **more):
        """The usual way: one configuration, one program."""
        conf = self.configure(case, FILES[self.name], **more)
        self.spawn(self.command(self.name, conf))
        return self

    def start_limit(self, mode, argument):
        self.spawn([self.place.limit, self.port, mode, argument])
        return self

    def ready(self, path, seconds=15.0, wanted=None, **more):
        """Waits until a URL is answered (with that status); raises what the server said if it is not."""
        deadline = time.monotonic() + seconds
        problem = "no answer"
        while time.monotonic() < deadline and all(one.alive() for one in self.processes):
            try:
                answer = client.get(self.port, path, context=self.context, **more)
                if wanted is None or answer.status == wanted:
                    return answer
                problem = "status {}".format(answer.status)
                time.sleep(0.05)
            except (OSError, client.Broken) as error:
                problem = error
                time.sleep(0.02)
        raise NotStarted("{} does not serve {}: {}\n{}".format(self.label, path, problem, self.said()))

    def listening(self, seconds=15.0):
        """Waits until connections are taken; raises what the server said if they are not."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and all(one.alive() for one in self.processes):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
                return self
            except OSError:
                time.sleep(0.02)
        raise NotStarted("{} does not listen\n{}".format(self.label, self.said()))

    def said(self):
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-20:])

    def url(self, path):
        return "{}://127.0.0.1:{}{}".format("https" if self.context else "http", self.port, path)

    def plain_url(self, path):
        return "http://127.0.0.1:{}{}".format(self.plain, path)

    def cpu(self):
        return sum(one.cpu() for one in self.processes)

    def switches(self):
        return sum(one.switches() for one in self.processes)

    def pss(self):
        return sum(one.pss() for one in self.processes)

    def tree(self):
        return [member for one in self.processes for member in one.tree()]

    def alive(self):
        return all(one.alive() for one in self.processes)

    def stop(self, **how):
        for process in reversed(self.processes):
            process.stop(**how)
        self.processes = []


class NotStarted(Exception):
    """A server that does not answer."""
