"""WSGI servers, each as people run it: alone or behind nginx. Used by the cases wsgi, reload and memory."""
import os
import shutil
import subprocess

from .. import servers
from ..servers import NotStarted, Server

REPOSITORY = servers.BENCHES.parent
# Label of a peer → programs it needs. Our own need themselves.
STACKS = {
    "nginx + uWSGI": ["nginx", "uwsgi"], "nginx + gunicorn": ["nginx", "gunicorn"], "granian": ["granian"], "bjoern": ["bjoern"],
    "caddysnake": ["caddysnake"],
}
# Those that do not tell their version themselves, and what their package says.
SILENT = {"bjoern": "m.version('bjoern')", "caddysnake": "m.version('caddysnake'), 'with Python', platform.python_version()"}


class App:
    """An application: its module, directory and environment."""

    def __init__(self, module, directory, environment, path):
        self.module, self.directory, self.environment, self.path = module, directory, environment, path


def single(bench, module, path="/"):
    """An app of one file in benches/peers/wsgi."""
    directory = bench.place.run / module
    if not directory.exists():
        directory.mkdir()
        shutil.copy(str(servers.BENCHES / "peers/wsgi" / (module + ".py")), str(directory))
    return App(module, directory, {}, path)


def hello(bench):
    return single(bench, "hello")


def shop(bench, path="/"):
    """The Django shop of tests/apps with a database of its own."""
    directory, var = bench.place.run / "shop", bench.place.run / "shop-var"
    environment = {"DJANGO_SETTINGS_MODULE": "config.settings", "SHOP_VAR": str(var)}
    if not directory.exists():
        shutil.copytree(str(REPOSITORY / "tests/apps/shop"), str(directory), ignore=shutil.ignore_patterns("var", "__pycache__"))
        for command in (["migrate", "--verbosity", "0"], ["collectstatic", "--noinput", "--verbosity", "0"], ["demo"]):
            subprocess.run([str(bench.place.venv / "bin/python"), "manage.py"] + command, cwd=str(directory), check=True,
                           env=dict(os.environ, **environment), stdout=subprocess.DEVNULL)
        # Servers run as another user; the database is theirs to write.
        for root, directories, files in os.walk(str(var)):
            for name in directories + files:
                os.chmod(os.path.join(root, name), 0o777 if name in directories else 0o666)
        var.chmod(0o777)
    return App("config.wsgi", directory, environment, path)


def installed(bench, label, stacks=STACKS):
    """Whether all programs of a stack are there; remembers their versions."""
    for name in stacks.get(label, [label]):
        if name in SILENT:
            python = (bench.place.snake if name == "caddysnake" else bench.place.venv) / "bin/python"
            done = subprocess.run([str(python), "-c", "import {}, platform, importlib.metadata as m; print({})".format(name, SILENT[name])],
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True)
            if done.returncode:
                bench.left_out(label, name + " could not be installed")
                return False
            bench.versions[name] = done.stdout.strip() or "unknown"
        elif not servers.find(bench.place, name):
            bench.left_out(label, name + " is not installed")
            return False
        else:
            bench.versions[name] = servers.version(bench.place, name)
    return True


def start_all(bench, labels, app, **more):
    """Those stacks that are installed and answer."""
    return [one for one in (start(bench, label, app, **more) for label in labels if installed(bench, label)) if one]


def wanted(bench, labels, stacks=STACKS):
    """Our own, and those of the peers that were asked for: --peers names a stack, or one of its programs."""
    peers = bench.options.peers
    return bench.ours() + [one for one in labels if peers is None or set(peers) & {one, stacks[one][-1]}]


def app_processes(server):
    """The processes in which the application runs, of Hatchery or an app server whose master starts them."""
    if server.name in servers.OURS:
        return [one for one in server.tree() if one.name.startswith("app ")]
    master = server.processes[0]
    return [one for one in master.tree() if one.parent == master.pid]


def front(server):
    """The pid of the one process that faces clients: Hatchery's worker, nginx's. Both are children of their masters."""
    master = server.processes[-1]
    return next(one.pid for one in master.tree() if one.parent == master.pid and not one.name.startswith("app "))


def start(bench, label, app, file="hatchery.ron", **more):
    """Starts a stack and waits for its first answer; None when it does not come. Granian and bjoern have one process."""
    server = Server(bench.place, STACKS.get(label, [label])[-1], label)
    environment = dict(os.environ, **app.environment)
    values = dict(MODULE=app.module, CHDIR=app.directory, WSGI_FILE=app.module.replace(".", "/") + ".py",
                  ENV_RON=", ".join('"{}": "{}"'.format(*pair) for pair in app.environment.items()),
                  ENV_INI="\n".join("env = {}={}".format(*pair) for pair in app.environment.items()), **more)
    target = app.module + ":application"
    venv = bench.place.venv / "bin"
    if label in servers.OURS:
        server.spawn(server.command(label, server.configure("wsgi", file, **values)))
    elif label == "granian":
        server.spawn([venv / "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", server.port, "--workers", 1,
                      "--blocking-threads", 1, "--http", 1, "--no-ws", "--backlog", 4096, "--log-level", "error", target],
                     cwd=str(app.directory), env=environment)
    elif label == "caddysnake":
        # Its workers are of the first Python on PATH.
        environment["PATH"] = "{}:{}".format(bench.place.snake / "bin", environment["PATH"])
        server.spawn([bench.place.snake / "bin/caddysnake", "--server-type", "wsgi", "--app", target, "--listen",
                      "127.0.0.1:{}".format(server.port), "--workers", more.get("PROCESSES", 1)], cwd=str(app.directory), env=environment)
    elif label == "bjoern":
        server.spawn([venv / "python", servers.BENCHES / "peers/wsgi/serve_bjoern.py", server.port, app.module],
                     cwd=str(app.directory), env=environment)
    else:
        gunicorn = label.endswith("gunicorn")
        if gunicorn:
            conf = server.configure("wsgi", "gunicorn.conf.py", **values)
            server.spawn([venv / "gunicorn", "--config", conf, target], cwd=str(app.directory), env=environment)
        else:
            server.spawn(server.command("uwsgi", server.configure("wsgi", "uwsgi.ini", **values)))
        front = server.configure("wsgi", "nginx-gunicorn.conf" if gunicorn else "nginx-uwsgi.conf", **values)
        server.spawn(server.command("nginx", front))
    try:
        server.ready(app.path, wanted=200, host="localhost")
        return server
    except NotStarted as error:
        server.stop()
        bench.left_out(label, error)
        return None
