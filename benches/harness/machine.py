"""What the numbers were measured on."""
import os
import platform
import subprocess
import time


def model():
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def memory():
    with open("/proc/meminfo") as file:
        return "{:.0f} GiB".format(int(file.readline().split()[1]) / 1024 / 1024)


def virtual():
    with open("/proc/cpuinfo") as file:
        return "virtual machine" if " hypervisor" in file.read() else "bare metal"


def commit(directory):
    def git(*arguments):
        done = subprocess.run(("git",) + arguments, cwd=str(directory), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              universal_newlines=True)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", "src", "Cargo.toml", "Cargo.lock")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")


def load_average():
    return os.getloadavg()[0]


def describe(directory):
    """Lines for the head of a page of results."""
    return [
        ("machine", "{}, {} cores, {}, {}".format(model(), os.cpu_count(), memory(), virtual())),
        ("kernel", platform.release()),
        ("date", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())),
        ("commit", commit(directory)),
    ]
