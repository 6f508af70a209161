"""Sees which requests lie in the stream of a worker while one runs, and holds until some do."""
import json
import os
import signal
import socket
import stat
import time
import urllib.parse

import __main__

REQUEST, CANCEL = 4, 7
HEADER = 12


def is_socket(descriptor):
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def unread():
    """Types of the frames in the sockets of this process, which stay there."""
    for name in os.listdir("/proc/self/fd"):
        if not is_socket(int(name)):
            continue
        try:
            with socket.socket(fileno=os.dup(int(name))) as one:
                data = one.recv(1 << 20, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            continue
        while len(data) >= HEADER:
            yield data[4]
            data = data[HEADER + int.from_bytes(data[:4], "little"):]


def lie():
    """Requests that lie here and have not begun, and how many of what came are called back; read by the host or not."""
    there = list(unread())
    read = [frame[0] for stream in list(__main__.Host.running.streams) for frame in list(stream.frames)]
    return {"ahead": there.count(REQUEST) + read.count(REQUEST), "cancels": there.count(CANCEL)}


def hold(ahead, cancels, until):
    """Waits for so many, or for the file `until`; tells by another file that something was called back meanwhile."""
    deadline = time.monotonic() + (0.3 if not until else 30)
    while True:
        there = lie()
        done = os.path.exists(until) if until else there["ahead"] >= ahead and there["cancels"] >= cancels
        if until and there["cancels"]:
            open(until + ".called-back", "w").close()
        if done or time.monotonic() > deadline:
            return dict(there, done=done)
        time.sleep(0.001)


def stream(name, start_response):
    """Without end, until it is closed, which it tells; the first part says what lies here."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        deadline = time.monotonic() + 0.3
        there = lie()
        while not there["ahead"] and time.monotonic() < deadline:
            there = lie()
        yield json.dumps(there).encode() + b"\n"
        while True:
            yield b"."
            time.sleep(0.001)
    finally:
        with open(os.environ["MARKS"], "a") as marks:
            marks.write(name + "\n")


def application(environ, start_response):
    query = dict(urllib.parse.parse_qsl(environ["QUERY_STRING"]))
    answer = {"pid": os.getpid(), "method": environ["REQUEST_METHOD"], "mark": query.get("mark")}
    if "stream" in query:
        return stream(query["stream"], start_response)
    if "sleep" in query:
        time.sleep(float(query["sleep"]))
    if "mark" in query:
        with open(os.environ["MARKS"], "a") as marks:
            marks.write(query["mark"] + "\n")
    if "ahead" in query:
        answer.update(hold(int(query["ahead"]), int(query.get("cancels", 0)), query.get("until", "")))
        if answer["done"] and "die" in query:
            os.kill(os.getpid(), signal.SIGKILL)
        if answer["done"] and "hang" in query:
            time.sleep(1000)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]
