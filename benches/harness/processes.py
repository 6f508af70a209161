"""Process trees: started here, counted in /proc, ended by pid."""
import collections
import ctypes
import os
import resource
import signal
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LIBC = ctypes.CDLL(None, use_errno=True)
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORES, CLIENT_CORES = {CORES[0]}, {CORES[-1]}

Stat = collections.namedtuple("Stat", "pid name parent started ticks")
running = []


def prepare():
    """Orphans of servers become ours, descriptors suffice for 10,000 connections, this process leaves the server's core."""
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.sched_setaffinity(0, CLIENT_CORES)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536
    for limit in ((wanted, max(hard, wanted)), (min(hard, wanted), hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
            break
        except (ValueError, OSError):
            continue


def stat(pid):
    """What /proc says of a process; None when it is gone."""
    try:
        with open("/proc/{}/stat".format(pid)) as file:
            text = file.read()
    except OSError:
        return None
    name, fields = text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()
    # User and system time, its own and that of children it has reaped: nothing is lost when one of the tree ends.
    return Stat(pid, name, int(fields[1]), int(fields[19]), sum(int(field) for field in fields[11:15]))


def tree(root):
    """A process and all its descendants, parents first."""
    children = collections.defaultdict(list)
    for entry in os.listdir("/proc"):
        found = stat(int(entry)) if entry.isdigit() else None
        if found:
            children[found.parent].append(found)
    top = stat(root)
    found, todo = [], [top] if top else []
    while todo:
        one = todo.pop(0)
        found.append(one)
        todo.extend(children[one.pid])
    return found


def peak(pid):
    """The most bytes that a process had resident so far, or since that was reset."""
    try:
        with open("/proc/{}/status".format(pid)) as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:")), 0)
    except OSError:
        return 0


def reset_peak(pid):
    try:
        with open("/proc/{}/clear_refs".format(pid), "w") as file:
            file.write("5")
    except OSError:
        # Only who owns it may: then what it grew by before counts too.
        pass


def pin(pid, cores):
    """Moves all threads of a process."""
    for task in os.listdir("/proc/{}/task".format(pid)):
        os.sched_setaffinity(int(task), cores)


def rollup(pid, field):
    """A field of smaps_rollup in bytes; not a number where only root may know."""
    try:
        with open("/proc/{}/smaps_rollup".format(pid)) as file:
            for line in file:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
    except PermissionError:
        return float("nan")
    except OSError:
        pass
    return 0


def switches(pid):
    """By thread of a process: how often it has left its core so far, of its own accord or not."""
    found = {}
    try:
        for task in os.listdir("/proc/{}/task".format(pid)):
            with open("/proc/{}/task/{}/status".format(pid, task)) as file:
                found[task] = sum(int(line.split()[1]) for line in file if "voluntary_ctxt_switches:" in line)
    except OSError:
        # It ends while it is read.
        pass
    return found


class Process:
    """A command and everything it started."""

    def __init__(self, argv, cores=None, cwd=None, env=None, log=None):
        def in_child():
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            os.sched_setaffinity(0, cores or SERVER_CORES)

        self.argv, self.log, self.switched = argv, log, {}
        output = open(log, "ab") if log else subprocess.DEVNULL
        try:
            self.popen = subprocess.Popen(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                          start_new_session=True, preexec_fn=in_child)
        finally:
            if log:
                output.close()
        self.pid = self.popen.pid
        running.append(self)

    def alive(self):
        return self.popen.poll() is None

    def tree(self):
        return tree(self.pid)

    def cpu(self):
        """Seconds of processor time of the whole tree so far."""
        return sum(one.ticks for one in self.tree()) / TICKS

    def switches(self):
        """Context switches of the whole tree so far. Of what has ended those count that were seen while it lived."""
        for one in self.tree():
            for task, count in switches(one.pid).items():
                self.switched[one.pid, one.started, task] = count
        return sum(self.switched.values())

    def pss(self):
        """Bytes, shared pages counted in proportion."""
        return sum(rollup(one.pid, "Pss") for one in self.tree())

    def wait(self, seconds):
        self.popen.wait(seconds)
        if self in running:
            running.remove(self)

    def stop(self, patience=3.0, number=signal.SIGTERM):
        """Asks the first process to end, then ends whatever of the tree is left."""
        members = self.tree()
        send(self.pid, number, members)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            self.popen.poll()
            if not any(same(one) for one in members):
                break
            reap(members)
            time.sleep(0.01)
        members += [one for one in self.tree() if one not in members]
        for one in members:
            send(one.pid, signal.SIGKILL, members)
        self.popen.wait()
        reap(members)
        if self in running:
            running.remove(self)


def same(member):
    """Whether the pid is still that process."""
    now = stat(member.pid)
    return now is not None and now.started == member.started


def send(pid, number, members):
    if any(one.pid == pid and same(one) for one in members):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def reap(members):
    """Collects orphans that fell to us; never anybody else's child."""
    for one in members:
        if one.parent != os.getpid():
            try:
                os.waitpid(one.pid, os.WNOHANG)
            except ChildProcessError:
                pass


def stop_all():
    for process in list(reversed(running)):
        process.stop(patience=1.0)
