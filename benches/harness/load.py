"""wrk, on the client's core, and what it counted."""
import collections
import json
import pathlib
import shutil
import subprocess

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
        try:
            self.process.wait(self.seconds + 30)
        except subprocess.TimeoutExpired:
            self.process.stop()
        text = self.log.read_text()
        for line in text.splitlines():
            if line.startswith("COUNTED "):
                found = json.loads(line[len("COUNTED "):])
                errors = {name: found[name] for name in ("connect", "read", "write", "timeout")}
                return Counted(found["requests"], found["microseconds"] / 1e6, sum(errors.values()), found["status"],
                               found["p50"], found["p99"], found["max"], errors)
        raise SystemExit("wrk failed:\n" + text)
