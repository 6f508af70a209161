"""A WSGI app that does what PEP 3333 allows and what it forbids; each path is one case. Used by tests/it/host.rs."""
import atexit
import gzip
import hashlib
import io
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from wsgiref.validate import validator

PLAIN = [("Content-Type", "text/plain")]
closed = []
kept = []
barrier = threading.Barrier(4)
atexit.register(lambda: print("atexit ran", file=sys.stderr))


class Closing:
    """An iterable that counts how often it is closed."""

    def __init__(self, chunks, name):
        self.chunks = iter(chunks)
        self.name = name

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.chunks)

    def close(self):
        closed.append(self.name)


def wait_for(environ):
    """Blocks until the test opens the FIFO it named in the query."""
    with open(environ["QUERY_STRING"], "rb") as fifo:
        fifo.read()


def hello(environ, start_response):
    start_response("200 OK", PLAIN)
    return [b"hello"]


def dump(environ, start_response):
    start_response("200 OK", PLAIN)
    lines = ["%s=%r\n" % item for item in sorted(environ.items())]
    lines.append("type=%s\n" % type(environ).__name__)
    return ["".join(lines).encode("latin-1", "backslashreplace")]


def process(environ, start_response):
    start_response("200 OK", PLAIN)
    # 3 and 4 are where the server's sockets are here.
    command = [sys.executable, "-c", "import os; print([os.path.exists('/proc/self/fd/%d' % fd) for fd in (2, 3, 4)])"]
    facts = {
        "argv": sys.argv,
        "settings": [name for name in os.environ if name.startswith("HATCHERY_HOST_")],
        "path": sys.path[0],
        "cwd": os.getcwd(),
        "main": __name__,
        "thread": threading.current_thread() is threading.main_thread(),
        "child": subprocess.check_output(command, close_fds=False).decode().strip(),
        "stdin": os.readlink("/proc/self/fd/0"),
        "buffered": not sys.stdout.line_buffering,
    }
    return ["".join("%s=%r\n" % fact for fact in facts.items()).encode()]


def echo(environ, start_response):
    data = environ["wsgi.input"].read()
    tail = environ["wsgi.input"].read(), environ["wsgi.input"].read(10), environ["wsgi.input"].readline()
    assert tail == (b"", b"", b""), tail
    start_response("200 OK", PLAIN)
    return [("%d %s" % (len(data), hashlib.sha256(data).hexdigest())).encode()]


def lines(environ, start_response):
    body = environ["wsgi.input"]
    seen = [body.readline(), body.readline(2), body.read(3), list(body), body.read(-1)]
    start_response("200 OK", PLAIN)
    return [repr(seen).encode()]


def lazy(environ, start_response):
    start_response("299 Lazy", PLAIN + [("X-Lazy", "yes")])
    yield b""
    yield b"la"
    yield b""
    yield b"zy"


def streamed(environ, start_response):
    start_response("200 OK", PLAIN)
    yield b"first"
    wait_for(environ)
    yield b"second"


def write(environ, start_response):
    send = start_response("200 OK", PLAIN)
    send(b"one ")
    send(b"")
    send(b"two ")
    return [b"three ", b"four"]


def parts(environ, start_response):
    start_response("200 OK", PLAIN)
    return (b"a", b"", b"bc")


def large_parts(environ, start_response):
    start_response("200 OK", PLAIN)
    return [b"x" * 50_000, b"y" * 50_000]


def large(environ, start_response):
    start_response("200 OK", PLAIN)
    return [b"z" * 3_000_000]


def empty_list(environ, start_response):
    start_response("200 OK", PLAIN)
    return []


def empty_generator(environ, start_response):
    start_response("200 OK", PLAIN)
    return iter(())


def no_content(environ, start_response):
    start_response("204 No Content", [])
    return [b""]


def latin(environ, start_response):
    start_response("200 Caf\xe9", PLAIN + [("X-Latin", "caf\xe9"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    return [environ["HTTP_X_LATIN"].encode("latin-1"), environ["PATH_INFO"].encode("latin-1")]


def fail_early(environ, start_response):
    raise ValueError("too early")


def fail_deep(environ, start_response):
    """Through as many calls as the query says, or without an end."""

    def call(deeper):
        if deeper == 0:
            raise ValueError("in the depth")
        call(deeper - 1)

    call(int(environ["QUERY_STRING"] or -1))


def fail_long(environ, start_response):
    raise ValueError("begins " + "x" * 1_000_000 + " ends")


def fail_without_files(environ, start_response):
    """No file can be opened any more, not that of a module either."""
    for name in ("traceback", "linecache", "tokenize"):
        sys.modules.pop(name, None)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, limits[1]))
    raise ValueError("too many files")


def close_everything(environ, start_response):
    os.closerange(3, 200)
    raise ValueError("after that")


def fail_after_start(environ, start_response):
    start_response("200 OK", PLAIN)
    raise ValueError("after start_response")


def fail_first(environ, start_response):
    start_response("200 OK", PLAIN)
    return Closing(chunks_then(ValueError("in the first chunk"), b""), "fail_first")


def fail_later(environ, start_response):
    start_response("200 OK", PLAIN)
    return Closing(chunks_then(ValueError("in the second chunk"), b"partial"), "fail_later")


def chunks_then(error, *chunks):
    for chunk in chunks:
        yield chunk
    raise error


def fail_in_close(environ, start_response):
    start_response("200 OK", PLAIN)
    result = Closing([b"fine"], "fail_in_close")
    result.close = lambda: 1 / 0
    return result


def exits(environ, start_response):
    sys.exit(5)


def no_start(environ, start_response):
    return [b"no head"]


def nothing(environ, start_response):
    start_response("200 OK", PLAIN)


def start_twice(environ, start_response):
    start_response("200 OK", PLAIN)
    start_response("201 Created", PLAIN)
    return [b"twice"]


def replaced(environ, start_response):
    start_response("200 OK", PLAIN)
    try:
        raise KeyError("replace the head")
    except KeyError:
        start_response("503 Sorry", PLAIN, sys.exc_info())
    return [b"sorry"]


def replaced_too_late(environ, start_response):
    start_response("200 OK", PLAIN)
    yield b"sent"
    try:
        raise KeyError("too late for another head")
    except KeyError:
        start_response("503 Sorry", PLAIN, sys.exc_info())
    yield b"never"


def text(environ, start_response):
    start_response("200 OK", PLAIN)
    return ["text"]


def split_header(environ, start_response):
    start_response("200 OK", [("X-A", "a\r\nSet-Cookie: evil=1")])
    return [b"split"]


def split_header_nul(environ, start_response):
    start_response("200 OK", [("X-A", "a\0Set-Cookie\0evil=1")])
    return [b"split"]


def wide_header(environ, start_response):
    start_response("200 OK", [("X-A", "\u20ac")])
    return [b"wide"]


def tuple_headers(environ, start_response):
    start_response("200 OK", tuple(PLAIN))
    return [b"tuple"]


def mistaken(environ, start_response):
    """Mistakes of beginners: the query is a key."""
    status, value, body = {
        "status": (200, "4", [b"body"]),
        "short": ("20", "4", [b"body"]),
        "superscript": ("20\xb2 OK", "4", [b"body"]),
        "length": ("200 OK", 4, [b"body"]),
        "no_number": ("200 OK", "four", [b"body"]),
        "negative": ("200 OK", "-4", [b"body"]),
        "bytes": ("200 OK", "4", b"body"),
        "text": ("200 OK", "4", "body"),
        "empty": ("200 OK", "0", b""),
    }[environ["QUERY_STRING"]]
    start_response(status, PLAIN + [("Content-Length", value)])
    return body


def bad_status(environ, start_response):
    start_response("OK", PLAIN)
    return [b"bad"]


def hop_by_hop(environ, start_response):
    start_response("200 OK", PLAIN + [("Connection", "close"), ("Transfer-Encoding", "chunked"), ("Server", "me")])
    return [b"hop"]


def too_long(environ, start_response):
    start_response("200 OK", PLAIN + [("Content-Length", "3")])
    return [b"longer"]


def too_short(environ, start_response):
    start_response("200 OK", PLAIN + [("Content-Length", "30")])
    return [b"shorter"]


def count_closed(environ, start_response):
    start_response("200 OK", PLAIN)
    return [("%d" % closed.count(environ["QUERY_STRING"])).encode()]


def closing(environ, start_response):
    start_response("200 OK", PLAIN)
    return Closing([b"cl", b"osed"], "closing")


def slow_close(environ, start_response):
    start_response("200 OK", PLAIN)
    result = Closing([b"response"], "slow_close")
    result.close = lambda: wait_for(environ)
    return result


def endless(environ, start_response):
    start_response("200 OK", PLAIN)
    return Closing(iter(lambda: b"e" * 10_000, None), "endless")


def endless_write(environ, start_response):
    send = start_response("200 OK", PLAIN)
    try:
        while True:
            send(b"e" * 10_000)
    finally:
        closed.append("endless_write")


def endless_write_status(environ, start_response):
    """Writes without an end where no body is, or behind one of 20000 bytes; the query is the status."""
    status = environ["QUERY_STRING"]
    send = start_response(status + " Whatever", PLAIN + [("Content-Length", "20000")] if status == "200" else [])
    try:
        while True:
            send(b"e" * 10_000)
            time.sleep(0.01)
    finally:
        closed.append("endless_write_" + status)


def endless_status(environ, start_response):
    """An iterator without an end where no body is, or one of 20000 bytes; the query is the status."""
    status = environ["QUERY_STRING"]
    start_response(status + " Whatever", PLAIN + [("Content-Length", "20000")] if status == "200" else [])
    return Closing(iter(lambda: b"e" * 10_000, None), "endless_" + status)


def streamed_to_the_end(environ, start_response):
    start_response("200 OK", PLAIN + [("Content-Length", "6")])
    yield b"stream"
    closed.append("streamed_to_the_end")


def file(environ, start_response):
    opened = open(__file__, "rb")
    opened.read(10)
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](opened, 100)


def file_with_length(environ, start_response):
    opened = open(__file__, "rb", buffering=0)
    opened.seek(4)
    start_response("200 OK", PLAIN + [("Content-Length", "6")])
    return environ["wsgi.file_wrapper"](opened)


def file_temporary(environ, start_response):
    opened = tempfile.TemporaryFile()
    opened.write(b"head temporary")
    opened.seek(5)
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](opened)


def file_empty(environ, start_response):
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](tempfile.TemporaryFile())


def file_in_memory(environ, start_response):
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](io.BytesIO(b"in memory"), 2)


def file_gzip(environ, start_response):
    packed = tempfile.TemporaryFile()
    with gzip.GzipFile(fileobj=packed, mode="wb") as out:
        out.write(b"unpacked")
    packed.seek(0)
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](gzip.GzipFile(fileobj=packed))


class Shouting(io.BufferedReader):
    """What it reads is not what the file holds."""

    def read(self, size=-1):
        return super().read(size).upper()


def temporary(data, wrap):
    opened = tempfile.NamedTemporaryFile(delete=False)
    with opened:
        opened.write(data)
    raw = io.FileIO(opened.name)
    os.unlink(opened.name)
    return wrap(raw)


def file_subclass(environ, start_response):
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](temporary(b"quiet", Shouting))


def file_gzip_buffered(environ, start_response):
    start_response("200 OK", PLAIN)
    packed = temporary(gzip.compress(b"unpacked"), io.BufferedReader)
    return environ["wsgi.file_wrapper"](io.BufferedReader(gzip.GzipFile(fileobj=packed)))


def file_lines(environ, start_response):
    """An object of another kind, whose read() is another method of a file."""
    start_response("200 OK", PLAIN)

    class Lines:
        read = temporary(b"one\ntwo", io.BufferedReader).readline

    return environ["wsgi.file_wrapper"](Lines())


def file_of_the_kernel(environ, start_response):
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](open("/proc/sys/kernel/ostype", "rb"))


def informational(environ, start_response):
    start_response("103 Early Hints", PLAIN)
    return [b"early"]


def reset_content(environ, start_response):
    start_response("205 Reset Content", PLAIN + [("Content-Length", "4")])
    return [b"none"]


def late_write(environ, start_response):
    """Writes in close(), when the response has ended, and again in the next request."""
    send = start_response("200 OK", PLAIN)
    result = Closing([b"whole"], "late_write")
    result.close = lambda: send(b"late")
    kept.append(send)
    return result


def later_write(environ, start_response):
    kept[-1](b"later")


def file_not_returned(environ, start_response):
    start_response("200 OK", PLAIN)
    return iter(environ["wsgi.file_wrapper"](io.BytesIO(b"only iterated")))


def together(environ, start_response):
    barrier.wait(20)
    start_response("200 OK", PLAIN)
    return [threading.current_thread().name.encode()]


def held(environ, start_response):
    print("held", file=sys.stderr)
    wait_for(environ)
    start_response("200 OK", PLAIN)
    return [b"let go"]


def nap(environ, start_response):
    """Takes 100 ms, or does so in close()."""
    start_response("200 OK", PLAIN)
    if environ["QUERY_STRING"] != "close":
        time.sleep(0.1)
        return [b"slept"]
    result = Closing([b"sleeps"], "nap")
    result.close = lambda: time.sleep(0.1)
    return result


def sized(environ, start_response):
    start_response("200 OK", PLAIN)
    return [b"s" * int(environ["QUERY_STRING"])]


def told_to_leave(environ, start_response):
    """Returns once the host knows that it must leave."""
    os.kill(os.getpid(), signal.SIGTERM)
    while not sys.modules["__main__"].Host.running.leaving:
        time.sleep(0.001)
    start_response("200 OK", PLAIN)
    return [b"told"]


def fork(environ, start_response):
    """A forked child holds none of the server's descriptors and can be terminated."""
    before = set(os.listdir("/proc/self/fd"))
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        ours = [name for name in before if os.path.exists("/proc/self/fd/" + name)]
        links = [os.readlink("/proc/self/fd/" + name) for name in ours]
        os.write(write, repr([link for link in links if link.startswith(("socket", "anon"))]).encode())
        signal.pause()
    found = os.read(read, 4096)
    os.close(read)
    os.close(write)
    os.kill(pid, signal.SIGTERM)
    _, status = os.waitpid(pid, 0)
    start_response("200 OK", PLAIN)
    return [found, b" ", str(os.WTERMSIG(status)).encode()]


def fork_and_come_back(environ, start_response):
    """The child does as the query says, and its exit code is the answer."""
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        start_response("200 OK", PLAIN)
        return [str(os.WEXITSTATUS(status)).encode()]
    if environ["QUERY_STRING"] == "exit":
        sys.exit(4)
    if environ["QUERY_STRING"] == "raise":
        raise ValueError("in the child")
    send = start_response("200 OK", PLAIN)
    send(b"from the child")
    return [b"again"]


def fork_again(environ, start_response):
    """A child of a forked child keeps the files that the first one has opened, whatever their numbers were before."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        pairs = [os.pipe() for _ in range(20)]
        if os.fork() == 0:
            lost = 0
            for ends in pairs:
                for end in ends:
                    try:
                        os.fstat(end)
                    except OSError:
                        lost += 1
            os.write(write, b"%d lost of %d" % (lost, 2 * len(pairs)))
            os._exit(0)
        os.wait()
        os._exit(0)
    os.waitpid(pid, 0)
    found = os.read(read, 4096)
    os.close(read)
    os.close(write)
    start_response("200 OK", PLAIN)
    return [found]


def hints(environ, start_response):
    early = environ["wsgi.early_hints"]
    early([("Link", "</a.css>; rel=preload")])
    early([])
    start_response("200 OK", PLAIN)
    early([("Link", "</b\xe9>")])
    return [b"hinted"]


def bad_hints(environ, start_response):
    """Hints that are none, or come when it is too late; the query is a key."""
    early = environ["wsgi.early_hints"]
    case = environ["QUERY_STRING"]
    if case == "late":
        start_response("200 OK", PLAIN)(b"begun")
        early([("Link", "</a>")])
    if case == "many":
        for _ in range(40):
            early([("Link", "</a>")])
    early({"split": [("Link", "a\r\nb")], "tuple": (("Link", "a"),), "bytes": [(b"Link", b"a")], "pair": ["Link"]}[case])
    start_response("200 OK", PLAIN)
    return [b"never"]


produced = 0


def events(environ, start_response):
    """Server-sent events without an end; `produced` tells how many bytes were taken from it."""
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    return Closing(counted(b"data: " + b"e" * 10_000 + b"\n\n"), "events")


def counted(event):
    global produced
    while True:
        yield event
        produced += len(event)


def one_event(environ, start_response):
    """One event, and another one once the test opens the FIFO that it named in the query."""
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    yield b"data: first\n\n"
    wait_for(environ)
    yield b"data: second\n\n"


def count_produced(environ, start_response):
    start_response("200 OK", PLAIN)
    return [str(produced).encode()]


def closing_status(environ, start_response):
    """Status and length as the query says; counts how often it is closed."""
    status, _, length = environ["QUERY_STRING"].partition("-")
    start_response(status + " Whatever", [("Content-Length", length)] if length else [])
    return Closing([b"1234", b"5678"], "closing_status")


def bad_start_closing(environ, start_response):
    """start_response() fails inside of the iterable, which is closed all the same."""

    def late():
        start_response("OK", PLAIN)
        yield b"never"

    return Closing(late(), "bad_start_closing")


@validator
def validated(environ, start_response):
    """Everything that an app may do, looked at by the validator of the standard library; the query is a key."""
    body, errors = environ["wsgi.input"], environ["wsgi.errors"]
    case = environ["QUERY_STRING"]
    if case == "input":
        read = [body.read(3), body.readline(), body.readline(2), *body.readlines(1), *iter(body)]
        data = b"".join(read)
    else:
        data = b"valid"
    errors.write("from the validated app\n")
    errors.writelines(["a line\n"])
    errors.flush()
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("X-Latin", "caf\xe9")]
    if case == "error":
        try:
            raise ValueError("replaced")
        except ValueError:
            start_response("500 Sorry", headers, sys.exc_info())
        return [data]
    if case == "empty":
        start_response("204 No Content", [])
        return []
    send = start_response("200 OK", headers + ([("Content-Length", str(len(data)))] if case != "lazy" else []))
    if case == "write":
        send(data)
        return []
    if case == "file":
        return environ["wsgi.file_wrapper"](io.BytesIO(data), 2)
    return iter([data[:2], data[2:]])


@validator
def valid(environ, start_response):
    if environ["REQUEST_METHOD"] == "POST":
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        body += environ["wsgi.input"].readline(5)
    else:
        body = b"valid"
    environ["wsgi.errors"].write("a line for the log\n")
    environ["wsgi.errors"].flush()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def application(environ, start_response):
    return globals()[environ["PATH_INFO"].split("/")[1]](environ, start_response)


class Holder:
    deep = application


holder = Holder()
holder.inner = application


class Proxy:
    """Its attributes are nowhere yet."""

    def __getattr__(self, name):
        raise RuntimeError("not bound: " + name)

    def __call__(self, environ, start_response):
        return application(environ, start_response)


proxy = Proxy()


def create():
    return application


number = 5
