"""An ASGI app that does what the specification allows and what it forbids; each path is one case. Used by
tests/it/host/asgi_*.rs."""
import asyncio
import atexit
import contextvars
import os
import sys
import tempfile

atexit.register(lambda: print("atexit ran", file=sys.stderr))
PLAIN = [(b"content-type", b"text/plain")]
cases = {}
notes = []
var = contextvars.ContextVar("var", default="none")


def case(function):
    cases["/" + function.__name__] = function
    return function


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                scope["state"]["started"] = ["here"]
            else:
                print("shutdown ran", file=sys.stderr)
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await cases[scope["path"]](scope, receive, send)


def start(status=200, headers=PLAIN, **more):
    return {"type": "http.response.start", "status": status, "headers": headers, **more}


def body(data=b"", more=False):
    return {"type": "http.response.body", "body": data, "more_body": more}


async def answer(send, text):
    await send(start())
    await send(body(text.encode("utf-8", "backslashreplace")))


async def opened(scope):
    """Waits until the test opens the FIFO that it named in the query; the loop goes on."""

    def wait():
        with open(scope["query_string"], "rb") as fifo:
            fifo.read()

    await asyncio.get_running_loop().run_in_executor(None, wait)


async def read_all(receive):
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return parts, message["type"]
        parts.append(message["body"])
        if not message["more_body"]:
            return parts, None


@case
async def hello(scope, receive, send):
    await send(start())
    await send(body(b"hello"))


@case
async def dump(scope, receive, send):
    lines = ["%s=%r\n" % item for item in sorted(scope.items())]
    lines.append("types=%s\n" % sorted({type(part).__name__ for pair in scope["headers"] for part in pair}))
    await answer(send, "".join(lines))


@case
async def state(scope, receive, send):
    """A shallow copy: what is in it is shared, the dict is not."""
    scope["state"]["own"] = 1
    scope["state"]["started"].append("again")
    await answer(send, repr(sorted(scope["state"].items())))


@case
async def context(scope, receive, send):
    before = var.get()
    var.set("changed")
    await answer(send, before)


@case
async def echo(scope, receive, send):
    parts, _ = await read_all(receive)
    data = b"".join(parts)
    longest = max(map(len, parts))
    await answer(send, "%d %d %d %d" % (len(data), len(parts), longest, sum(data) % 1000003))


@case
async def descriptors(scope, receive, send):
    await answer(send, str(len(os.listdir("/proc/self/fd"))))


@case
async def after(scope, receive, send):
    """What receive() says behind the response."""
    first = await receive()
    await send(start())
    await send(body(b"done"))
    second = await receive()
    third = await receive()
    notes.append("%s %s %s" % (first["type"], second["type"], third["type"]))


@case
async def noted(scope, receive, send):
    await answer(send, "\n".join(notes))
    notes.clear()


@case
async def waits(scope, receive, send):
    """For the client to leave, while another task waits for the same."""
    await receive()
    other = asyncio.ensure_future(receive())
    message = await receive()
    notes.append("%s %s" % (message["type"], (await other)["type"]))
    try:
        await send(start())
    except OSError as error:
        notes.append("send raised %s" % type(error).__mro__[1].__name__)


@case
async def sleeps(scope, receive, send):
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        notes.append("cancelled")
        raise


@case
async def stubborn(scope, receive, send):
    """Goes on when it is cancelled, until the test lets it go."""
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        notes.append("goes on")
    await opened(scope)


@case
async def held(scope, receive, send):
    await opened(scope)
    await answer(send, "let go")


@case
async def behind(scope, receive, send):
    """Goes on behind its response."""
    await answer(send, "answered")
    await opened(scope)
    notes.append("ran behind")


@case
async def naps(scope, receive, send):
    await answer(send, "answered")
    await asyncio.sleep(0.1)


@case
async def streamed(scope, receive, send):
    await send(start())
    await send(body(b"first", True))
    await opened(scope)
    await send(body(b"second", True))
    await send(body())


@case
async def endless(scope, receive, send):
    await send(start())
    sent = 0
    try:
        while True:
            await send(body(b"x" * 10_000, True))
            sent += 10_000
    finally:
        notes.append("sent %d" % sent)


@case
async def endless_wide(scope, receive, send):
    await send(start())
    await send(body(b"y" * 3_000_000, True))
    await send(body(b"end"))


@case
async def large(scope, receive, send):
    await send(start())
    await send(body(b"z" * 3_000_000))


@case
async def events(scope, receive, send):
    await send(start(headers=[(b"Content-Type", b"text/event-stream; charset=utf-8")]))
    await send(body(b"data: 1\n\n", True))
    while (await receive())["type"] != "http.disconnect":
        pass
    notes.append("saw the end")


@case
async def raw(scope, receive, send):
    """Headers as they may be: upper case, duplicates, latin-1, a generator."""
    pairs = [(b"Set-Cookie", b"a=1"), (b"SET-COOKIE", b"b=2"), [b"X-Latin", b"caf\xe9"]]
    await send(start(299, (pair for pair in pairs)))
    await send(body(bytearray(b"raw")))


@case
async def given_length(scope, receive, send):
    await send(start(headers=[(b"Content-Length", scope["query_string"])]))
    await send(body(b"12", True))
    await send(body(b"345"))


@case
async def too_long(scope, receive, send):
    await send(start(headers=[(b"content-length", b"3")]))
    for _ in range(3):
        await send(body(b"12", True))
    await send(body(b"12"))


@case
async def too_long_at_once(scope, receive, send):
    await send(start(headers=[(b"content-length", b"3")]))
    await send(body(b"123456"))


@case
async def too_short(scope, receive, send):
    await send(start(headers=[(b"content-length", b"30")]))
    await send(body(b"1234567"))


@case
async def status(scope, receive, send):
    number = int(scope["query_string"])
    await send(start(number, [(b"content-length", b"4")]))
    await send(body(b"body"))


@case
async def empty(scope, receive, send):
    await send(start())
    await send(body())


@case
async def no_keys(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body"})


@case
async def trailers(scope, receive, send):
    await send(start(trailers=True))
    await send(body(b"body"))
    await send({"type": "http.response.trailers", "headers": [(b"X-Sum", b"1")], "more_trailers": True})
    await send({"type": "http.response.trailers", "headers": [(b"x-more", b"2")]})


@case
async def no_trailers(scope, receive, send):
    await send(start(trailers=True))
    await send(body(b"body"))


@case
async def hints(scope, receive, send):
    await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload", b"</b.js>; rel=preload"]})
    await answer(send, "hinted")


@case
async def path(scope, receive, send):
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"from a file")
        file.flush()
        await send(start(headers=[(b"content-length", scope["query_string"])] if scope["query_string"] else PLAIN))
        await send({"type": "http.response.pathsend", "path": file.name})


@case
async def raises(scope, receive, send):
    raise ValueError("too early")


@case
async def raises_after_start(scope, receive, send):
    await send(start())
    raise ValueError("after start")


@case
async def raises_later(scope, receive, send):
    await send(start())
    await send(body(b"part", True))
    raise ValueError("in the middle")


@case
async def raises_behind(scope, receive, send):
    await answer(send, "whole")
    raise ValueError("behind it")


@case
async def exits(scope, receive, send):
    sys.exit(5)


@case
async def task_exits(scope, receive, send):
    async def leave():
        sys.exit(5)

    task = asyncio.ensure_future(leave())
    await asyncio.wait([task])
    await answer(send, "still here")


@case
async def nothing(scope, receive, send):
    pass


@case
async def unfinished(scope, receive, send):
    await send(start())
    await send(body(b"part", True))


@case
async def forks(scope, receive, send):
    child = os.fork()
    if not child:
        if scope["query_string"] == b"raise":
            raise ValueError("in the copy")
        if scope["query_string"] == b"await":
            await asyncio.sleep(0)
            print("the copy has come back", file=sys.stderr)
        return
    _, ended = await asyncio.get_running_loop().run_in_executor(None, os.waitpid, child, 0)
    await answer(send, str(ended >> 8))


@case
async def spins(scope, receive, send):
    """Holds the loop up until the file that the query names is there."""
    print("it spins", file=sys.stderr)
    while not os.path.exists(scope["query_string"]):
        pass
    await answer(send, "spun")


# What must not be done, by name: messages, and whether it is the last of them that raises.
MISUSES = {
    "start_twice": [start(), start()],
    "body_first": [body(b"x")],
    "after_end": [start(), body(b"x"), body(b"y")],
    "unknown": [{"type": "http.response.stop"}],
    "other_kind": [{"type": "websocket.accept"}],
    "no_type": [{"status": 200}],
    "no_dict": ["http.response.start"],
    "text": [start(), {"type": "http.response.body", "body": "text"}],
    "text_header": [start(headers=[("content-type", "text/plain")])],
    "text_value": [start(headers=[(b"content-type", "text/plain")])],
    "single": [start(headers=[b"content-type"])],
    "text_status": [start("200")],
    "no_status": [{"type": "http.response.start"}],
    "low_status": [start(103)],
    "high_status": [start(1000)],
    "line_break": [start(headers=[(b"x-a", b"b\r\nset-cookie: c")])],
    "line_feed": [start(headers=[(b"x-a\n", b"b")])],
    "nul": [start(headers=[(b"x-a", b"b\0c")])],
    "length": [start(headers=[(b"content-length", b"four")])],
    "unannounced": [start(), body(b"x", True), {"type": "http.response.trailers", "headers": []}],
    "early_trailers": [start(trailers=True), {"type": "http.response.trailers", "headers": []}],
    "late_hint": [start(), {"type": "http.response.early_hint", "links": []}],
    "text_hint": [{"type": "http.response.early_hint", "links": ["</a>"]}],
    "relative": [start(), {"type": "http.response.pathsend", "path": "a"}],
    "directory": [start(), {"type": "http.response.pathsend", "path": "/tmp"}],
    "late_path": [start(), body(b"x", True), {"type": "http.response.pathsend", "path": "/etc/hostname"}],
}


@case
async def misuse(scope, receive, send):
    *before, last = MISUSES[scope["query_string"].decode()]
    for message in before:
        await send(message)
    await send(last)


@case
async def misused(scope, receive, send):
    """The same, where the app goes on."""
    *before, last = MISUSES[scope["query_string"].decode()]
    try:
        for message in before:
            await send(message)
        await send(last)
    except Exception as error:
        notes.append("%s: %s" % (type(error).__name__, error))
