"""wrk, on the client's core, and what it counted."""
import collections
import json
import pathlib
import re
import shutil
import subprocess
import sys
import time

from .processes import CLIENT_CORES, Process

HERE = pathlib.Path(__file__).resolve().parent
Counted = collections.namedtuple("Counted", "requests seconds failed wrong_status p50 p99 slowest errors")


class Wrk:
    """One run of wrk; may be watched while it lasts."""

    def __init__(self, url, log, connections=64, seconds=2, fields=(), script="report.lua", cores=None):
        argv = [shutil.which("wrk"), "-t1", "-c{}".format(connections), "-d{}s".format(seconds), "--timeout", "10s",
                "-s", str(HERE / script)]
        for field in fields:
            argv += ["-H", "{}: {}".format(*field)]
        self.log, self.seconds = log, seconds
        log.write_text("")
        self.process = Process(argv + [url], cores or CLIENT_CORES, log=log)

    def result(self):
        text = ended(self.process, self.log, self.seconds)
        for line in text.splitlines():
            if line.startswith("COUNTED "):
                found = json.loads(line[len("COUNTED "):])
                errors = {name: found[name] for name in ("connect", "read", "write", "timeout")}
                return Counted(found["requests"], found["microseconds"] / 1e6, sum(errors.values()), found["status"],
                               found["p50"], found["p99"], found["max"], errors)
        raise SystemExit("{} failed:\n{}".format(self.process.argv[0], text))


class Handshakes(Wrk):
    """New TLS connections, each with its handshake; counted as wrk's requests are."""

    def __init__(self, server, path, log, seconds, kind, processes=4):
        argv = [sys.executable, str(HERE / "handshakes.py"), server.port, path, seconds, processes, kind]
        self.log, self.seconds = log, seconds
        log.write_text("")
        self.process = Process([str(one) for one in argv], CLIENT_CORES, log=log)


class Talk(Wrk):
    """Messages through tunnels; counted as wrk's requests are."""

    def __init__(self, server, path, log, seconds, connections=64):
        argv = [sys.executable, str(HERE / "talk.py"), server.port, path, seconds, connections]
        self.log, self.seconds = log, seconds
        log.write_text("")
        self.process = Process([str(one) for one in argv], CLIENT_CORES, log=log)


class Trickle:
    """Slow clients beside another load, until their counts are asked for."""

    def __init__(self, server, log, *arguments):
        self.log = log
        log.write_text("")
        argv = [sys.executable, str(HERE / "trickle.py"), server.port, *arguments]
        self.process = Process([str(one) for one in argv], CLIENT_CORES, log=log)

    def counts(self):
        self.process.stop(patience=10.0)
        try:
            return json.loads(self.log.read_text())
        except ValueError:
            raise SystemExit("slow clients failed:\n" + self.log.read_text())


class Idle:
    """WebSockets that stay open and idle, until their counts are asked for."""

    def __init__(self, server, path, log, count):
        self.log = log
        log.write_text("")
        argv = [sys.executable, str(HERE / "rest.py"), str(server.port), path, str(count)]
        self.process = Process(argv, CLIENT_CORES, log=log)

    def opened(self, seconds):
        """Whether all could be opened."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.alive():
            if "OPEN" in self.log.read_text():
                return True
            time.sleep(0.05)
        return False

    def counts(self):
        self.process.stop(patience=10.0)
        try:
            return json.loads(self.log.read_text().replace("OPEN", ""))
        except ValueError:
            raise OSError(self.log.read_text().strip() or "its clients said nothing")


class Steady:
    """So many requests a second over HTTP/1.1 by h2load, and how long each took."""

    def __init__(self, url, log, seconds, rate, connections=64):
        self.log, self.seconds, self.each = log, seconds, log.with_suffix(".each")
        log.write_text("")
        self.each.write_text("")
        argv = [shutil.which("h2load"), "--h1", "-t1", "-c{}".format(connections), "-D{}".format(seconds),
                "--rps={:.1f}".format(rate / connections), "--log-file={}".format(self.each), url]
        self.process = Process(argv, CLIENT_CORES, log=log)

    def result(self):
        text = ended(self.process, self.log, self.seconds)
        counts = re.search(r"requests: .* (\d+) succeeded, (\d+) failed", text)
        # When it began, its status, how long it took in microseconds.
        lines = [line.split("\t") for line in self.each.read_text().splitlines()]
        took = sorted(int(line[2]) for line in lines)
        if not counts or not took:
            raise SystemExit("h2load failed:\n" + text)
        at = lambda part: took[min(int(len(took) * part), len(took) - 1)]
        failed = int(counts.group(2))
        wrong = sum(line[1] != "200" for line in lines)
        return Counted(len(took), self.seconds, failed, wrong, at(0.5), at(0.99), at(1), {"connect": failed})


class H2load:
    """One run of h2load: connections with so many streams at a time each. Of latencies it tells the mean and the longest."""

    def __init__(self, url, log, seconds, connections=8, streams=32):
        self.log, self.seconds = log, seconds
        log.write_text("")
        argv = [shutil.which("h2load"), "-t1", "-c{}".format(connections), "-m{}".format(streams), "-D{}".format(seconds), url]
        self.process = Process(argv, CLIENT_CORES, log=log)

    def result(self):
        text = ended(self.process, self.log, self.seconds)
        counts = re.search(r"requests: .* (\d+) succeeded, (\d+) failed", text)
        took = re.search(r"time for request: +(\S+) +(\S+) +(\S+)", text)
        if not counts or not took or "Application protocol: h2" not in text:
            raise SystemExit("h2load failed:\n" + text)
        failed = int(counts.group(2))
        return Counted(int(counts.group(1)), self.seconds, failed, 0, microseconds(took.group(3)), microseconds(took.group(2)),
                       microseconds(took.group(2)), {"connect": failed})


class Exactly(H2load):
    """So many requests by h2load, however long they take."""

    def __init__(self, url, log, count):
        self.log, self.count, self.seconds = log, count, 300
        log.write_text("")
        argv = [shutil.which("h2load"), "-t1", "-c8", "-m32", "-n{}".format(count), url]
        self.process = Process(argv, CLIENT_CORES, log=log)

    def result(self):
        counted = super().result()
        if counted.requests != self.count:
            raise SystemExit("h2load had {} answers instead of {}:\n{}".format(counted.requests, self.count, self.log.read_text()))
        return counted


def microseconds(text):
    """`12us`, `3.4ms`, `1.2s`"""
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 1, "ms": 1000, "s": 1000000}[unit]


def ended(process, log, seconds):
    """What a load has said at its end."""
    try:
        process.wait(seconds + 30)
    except subprocess.TimeoutExpired:
        process.stop()
    return log.read_text()
