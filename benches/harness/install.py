"""Gets what is missing: Debian's packages, a virtualenv, Hatchery in release and the floor."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

from . import servers

POLICY = pathlib.Path("/usr/sbin/policy-rc.d")
# Program → Debian package, and the service that the package would start at boot.
PACKAGES = {
    "wrk": ("wrk", None), "nginx": ("nginx", "nginx"), "h2o": ("h2o", "h2o"), "lighttpd": ("lighttpd", "lighttpd"),
    "haproxy": ("haproxy", "haproxy"), "caddy": ("caddy", "caddy"), "h2load": ("nghttp2-client", None),
    "uwsgi": ("uwsgi-core uwsgi-plugin-python3", None), "valgrind": ("valgrind", None),
    "apache2": ("apache2", "apache2"), "varnishd": ("varnish", "varnish"), "nginx-brotli": ("libnginx-mod-http-brotli-filter", None),
    # What the program of CGI is compiled with.
    "cc": ("gcc libc6-dev", None),
    # What bjoern is compiled with.
    "libev": ("libev-dev python3-dev gcc", None),
}
PYTHON = ["Django>=4.2,<6", "gunicorn", "granian", "bjoern", "uvicorn", "uvloop", "httptools", "websockets"]
# The newest Python that is there: what is on PyPI of caddysnake for older ones is an old caddysnake.
SNAKE, SNAKES = ["Django>=4.2,<6", "caddysnake"], ["python3.14", "python3.13", "python3.12"]


def say(text):
    sys.stderr.write(text + "\n")


def there(name):
    if name == "libev":
        return os.path.exists("/usr/include/ev.h")
    if name == "nginx-brotli":
        return os.path.exists("/usr/lib/nginx/modules/ngx_http_brotli_filter_module.so")
    return shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")


def packages(programs):
    """Installs what is missing where that is allowed, without starting any service; says what stays missing."""
    missing = [name for name in programs if not there(name)]
    wanted = [package for name in missing for package in PACKAGES[name][0].split()]
    if not wanted:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        say("Not installed, left out: {}. Get them with: sudo apt install {}".format(", ".join(missing), " ".join(wanted)))
        return
    say("Installing " + " ".join(wanted))
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        quiet = dict(env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        subprocess.run(["apt-get", "update", "-qq"], **quiet)
        # One by one: a package that this release lacks must not keep out the others.
        for name in missing:
            command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"] + PACKAGES[name][0].split()
            if subprocess.run(command, **quiet).returncode:
                say("Not to be had here, left out: " + name)
            elif PACKAGES[name][1] and shutil.which("systemctl"):
                subprocess.run(["systemctl", "disable", "--quiet", PACKAGES[name][1]], stderr=subprocess.DEVNULL, **quiet)
    finally:
        if ours:
            POLICY.unlink()


def virtualenvs(place):
    """The Python servers and Django, each if it can be had: one with the Python that uWSGI has, one for caddysnake."""
    usual = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
    virtualenv(usual, place.venv, PYTHON)
    virtualenv(newest(usual), place.snake, SNAKE)


def newest(usual):
    """The newest of `SNAKES` that runs, on PATH or by pyenv; else the usual one."""
    for name in SNAKES:
        kept = sorted(pathlib.Path.home().glob(".pyenv/versions/{}.*/bin/python".format(name[len("python"):])))
        for program in [shutil.which(name)] + kept:
            # A shim of pyenv is there for versions that are not.
            if program and not subprocess.run([str(program), "-c", "import ensurepip, venv"], stdout=subprocess.DEVNULL,
                                              stderr=subprocess.DEVNULL).returncode:
                return str(program)
    return usual


def virtualenv(python, venv, packages):
    marker = venv / ".made-for"
    if marker.exists() and marker.read_text() == "\n".join(packages):
        return
    say("Making a virtualenv in {}".format(venv))
    shutil.rmtree(str(venv), ignore_errors=True)
    if subprocess.run([python, "-m", "venv", str(venv)]).returncode:
        say("No virtualenv, so no Python servers: apt install python3-venv")
        return
    for package in packages:
        command = [str(venv / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                   "--root-user-action=ignore", package]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
        if done.returncode:
            say("Left out: {} ({})".format(package, last_error(done.stdout)))
    marker.write_text("\n".join(packages))


def last_error(text):
    lines = [line.strip() for line in text.splitlines() if "rror" in line]
    return lines[0][:160] if lines else "pip failed"


def target_directory(repository):
    done = subprocess.run(["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"], cwd=str(repository),
                          stdout=subprocess.PIPE, check=True)
    return pathlib.Path(json.loads(done.stdout.decode())["target_directory"]) / "bench"


def build(repository, target, hatchery):
    """The floor, and Hatchery (unless one is given) as released but with line tables, which do not change the code."""
    say("Building Hatchery and the floor" if hatchery is None else "Building the floor")
    environment = dict(os.environ, CARGO_PROFILE_RELEASE_DEBUG="line-tables-only", CARGO_PROFILE_RELEASE_STRIP="none",
                       CARGO_TARGET_DIR=str(target / "build"))
    for directory in [repository] * (hatchery is None) + [servers.BENCHES / "limit"]:
        done = subprocess.run(["cargo", "build", "--release", "--locked"], cwd=str(directory), env=environment,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
        if done.returncode:
            raise SystemExit(done.stdout + "the build failed")
    return hatchery or target / "build/release/hatchery", target / "build/release/limit"
