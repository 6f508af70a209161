"""A plain WSGI application that needs nothing but Python; each path shows one property of the server."""
import concurrent.futures
import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from urllib.parse import parse_qs

BLOCK = bytes(range(256)) * 256


def application(environ, start_response):
    page = PAGES.get(environ["PATH_INFO"].rsplit("/", 1)[-1], missing)
    return page(environ, start_response)


def query(environ, name, default):
    return parse_qs(environ["QUERY_STRING"]).get(name, [default])[0]


def answer(start_response, body, content_type="text/plain", status="200 OK"):
    body = body.encode() if isinstance(body, str) else body
    start_response(status, [("Content-Type", content_type), ("Content-Length", str(len(body)))])
    return [body]


def hello(environ, start_response):
    return answer(start_response, "hello\n")


def missing(environ, start_response):
    return answer(start_response, "no such page\n", status="404 Not Found")


def pid(environ, start_response):
    return answer(start_response, "{}\n".format(os.getpid()))


def echo(environ, start_response):
    """Length and SHA-256 of the request body, read in blocks."""
    digest, length = hashlib.sha256(), 0
    while True:
        block = environ["wsgi.input"].read(65536)
        if not block:
            break
        digest.update(block)
        length += len(block)
    found = {"length": length, "sha256": digest.hexdigest(), "content_length": environ.get("CONTENT_LENGTH")}
    return answer(start_response, json.dumps(found), "application/json")


def dump(environ, start_response):
    """The environ; what is not text by its type."""
    plain = {key: value if isinstance(value, (str, bool, int, tuple)) else type(value).__name__ for key, value in environ.items()}
    return answer(start_response, json.dumps(plain), "application/json")


def blocks(size):
    for _ in range(size // len(BLOCK)):
        yield BLOCK
    if size % len(BLOCK):
        yield BLOCK[: size % len(BLOCK)]


def big(environ, start_response):
    """`?size=` bytes; with `?length=1` the length is announced, else the server frames the body."""
    size = int(query(environ, "size", 1 << 20))
    fields = [("Content-Type", "application/octet-stream")]
    if query(environ, "length", ""):
        fields.append(("Content-Length", str(size)))
    start_response("200 OK", fields)
    return blocks(size)


def sleep(environ, start_response):
    time.sleep(float(query(environ, "seconds", "1")))
    return answer(start_response, "slept\n")


def drip(environ, start_response):
    """`?count=` lines, one each `?seconds=`."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    for number in range(int(query(environ, "count", "5"))):
        yield "line {}\n".format(number).encode()
        time.sleep(float(query(environ, "seconds", "0.2")))


class Ticks:
    """An iterable without an end: a line each `?seconds=`."""

    def __init__(self, environ):
        self.seconds = float(query(environ, "seconds", "0.05"))

    def __iter__(self):
        while True:
            yield b"tick\n"
            time.sleep(self.seconds)

    def close(self):
        Closing.closed += 1


def ticks(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Ticks(environ)


def ticks_of_length(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "10")])
    return Ticks(environ)


def ticks_written(environ, start_response):
    """The same by the callable that start_response returns."""
    send = start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        for tick in Ticks(environ):
            send(tick)
    finally:
        Closing.closed += 1


def write(environ, start_response):
    """The old way: the callable that start_response returns."""
    send = start_response("200 OK", [("Content-Type", "text/plain")])
    send(b"written ")
    send(b"and ")
    return [b"returned\n"]


def crash(environ, start_response):
    """The process dies without a word."""
    os._exit(3)


def crash_later(environ, start_response):
    """The process dies in the middle of a response whose length was announced."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "1000000")])
    yield b"x" * 1000
    os._exit(3)


def raise_before(environ, start_response):
    raise RuntimeError("raised before the headers")


def raise_after(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"a beginning, "
    raise RuntimeError("raised after the headers")


def exc_info(environ, start_response):
    """Replaces headers that were not sent yet, as PEP 3333 allows with exc_info."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        raise ValueError("second thoughts")
    except ValueError:
        start_response("500 Second Thoughts", [("Content-Type", "text/plain"), ("X-Replaced", "yes")], sys.exc_info())
    return [b"second thoughts\n"]


def headers(environ, start_response):
    """Several fields of one name, and an empty body."""
    start_response("204 No Content", [("Set-Cookie", "one=1"), ("Set-Cookie", "two=2"), ("X-Text", "caf\xe9")])
    return []


class Closing:
    """An iterable whose close() must be called; /closed tells how often it was."""

    closed = 0

    def __iter__(self):
        return iter([b"closing\n"])

    def close(self):
        Closing.closed += 1


def closing(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Closing()


def closed(environ, start_response):
    return answer(start_response, "{}\n".format(Closing.closed))


def file(environ, start_response):
    """`?path=` through wsgi.file_wrapper."""
    opened = open(query(environ, "path", __file__), "rb")
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return environ["wsgi.file_wrapper"](opened, 65536)


def print_lines(environ, start_response):
    """Writes to standard output, standard error and wsgi.errors."""
    print("on standard output", flush=True)
    print("on standard error", file=sys.stderr, flush=True)
    environ["wsgi.errors"].write("on wsgi.errors\n")
    environ["wsgi.errors"].flush()
    return answer(start_response, "printed\n")


def square(number):
    return number * number


def pool(environ, start_response):
    """Squares from processes that multiprocessing starts by `?method=`."""
    context = multiprocessing.get_context(query(environ, "method", "spawn"))
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        return answer(start_response, "{}\n".format(list(executor.map(square, range(4)))))


def signals(environ, start_response):
    """The signals that a program started by the app ignores or blocks."""
    status = subprocess.check_output(["grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status"])
    return answer(start_response, status)


def talker(environ, start_response):
    """Starts a program that prints until there is a file `?until=`, however long its parent lives."""
    script = 'until [ -e "$0" ]; do echo still there; sleep 0.05; done; echo came to its end'
    subprocess.Popen(["sh", "-c", script, query(environ, "until", "")])
    return answer(start_response, "started\n")


def linger(environ, start_response):
    """Starts a thread for which the end of the process waits for ever."""
    threading.Thread(target=threading.Event().wait, name="sleeper").start()
    return answer(start_response, "started\n")


def thread(environ, start_response):
    return answer(start_response, "{}\n".format(threading.get_ident()))


PAGES = {
    "": hello,
    "hello": hello,
    "pid": pid,
    "echo": echo,
    "environ": dump,
    "big": big,
    "sleep": sleep,
    "drip": drip,
    "ticks": ticks,
    "ticks_of_length": ticks_of_length,
    "ticks_written": ticks_written,
    "write": write,
    "crash": crash,
    "crash_later": crash_later,
    "raise_before": raise_before,
    "raise_after": raise_after,
    "exc_info": exc_info,
    "headers": headers,
    "closing": closing,
    "closed": closed,
    "file": file,
    "print": print_lines,
    "thread": thread,
    "pool": pool,
    "signals": signals,
    "talker": talker,
    "linger": linger,
}
