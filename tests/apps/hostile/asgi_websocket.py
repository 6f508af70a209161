"""WebSockets that do what the specification allows and what it forbids; each path is one case."""
import asyncio

cases = {}
notes = []


def case(function):
    cases["/" + function.__name__] = function
    return function


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        raise ValueError("not here")
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/hello":
            return await send({"type": "http.response.body", "body": b"hello"})
        await send({"type": "http.response.body", "body": "\n".join(notes).encode()})
        return notes.clear()
    await cases[scope["path"]](scope, receive, send)


async def accepted(receive, send, **more):
    message = await receive()
    assert message == {"type": "websocket.connect"}, message
    await send({"type": "websocket.accept", **more})


def close(**more):
    return {"type": "websocket.close", **more}


@case
async def dump(scope, receive, send):
    await accepted(receive, send, subprotocol="chat.2", headers=[(b"X-A", b"1"), (b"set-cookie", b"a=b")])
    text = "".join("%s=%r\n" % item for item in sorted(scope.items()))
    await send({"type": "websocket.send", "text": text})
    await send(close())


@case
async def echo(scope, receive, send):
    await accepted(receive, send)
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            notes.append("%r" % sorted(message.items()))
            again = await receive()
            notes.append("again" if again == message else "another")
            try:
                await send({"type": "websocket.send", "text": "late"})
            except OSError:
                notes.append("send raised OSError")
            return
        assert set(message) in ({"type", "text"}, {"type", "bytes"}), message
        await send({**message, "type": "websocket.send"})


@case
async def slow(scope, receive, send):
    """Takes a message whenever it is asked to by one of another WebSocket."""
    await accepted(receive, send)
    while True:
        await gate().wait()
        gate().clear()
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        await send({"type": "websocket.send", "text": str(len(message["bytes"]))})


def gate(made=[]):
    if not made:
        made.append(asyncio.Event())
    return made[0]


@case
async def takes(scope, receive, send):
    await accepted(receive, send)
    while (await receive())["type"] != "websocket.disconnect":
        gate().set()


@case
async def long(scope, receive, send):
    """Two tasks send what does not fit; neither tears the other's message apart."""
    await accepted(receive, send)
    await asyncio.gather(
        send({"type": "websocket.send", "text": "\u20ac" * 50_000}),
        send({"type": "websocket.send", "bytes": b"b" * 100_000}),
        send({"type": "websocket.send", "bytes": b""}),
    )
    await send(close(code=4000, reason="gr\u00fc\u00dfe"))
    notes.append(repr(sorted((await receive()).items())))


@case
async def refuses(scope, receive, send):
    await receive()
    await send(close())
    notes.append(repr(sorted((await receive()).items())))


@case
async def denies(scope, receive, send):
    await receive()
    headers = [(b"Content-Type", b"text/plain")]
    await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b"log ", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"in"})
    notes.append(repr(sorted((await receive()).items())))


@case
async def half_denied(scope, receive, send):
    await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b"log ", "more_body": True})


@case
async def returns(scope, receive, send):
    await accepted(receive, send)


@case
async def returns_early(scope, receive, send):
    await receive()


@case
async def raises(scope, receive, send):
    await accepted(receive, send)
    raise ValueError("while it is open")


@case
async def raises_early(scope, receive, send):
    raise ValueError("before it is accepted")


@case
async def waits(scope, receive, send):
    await accepted(receive, send)
    message = await receive()
    notes.append(repr(sorted(message.items())))


@case
async def waits_early(scope, receive, send):
    await receive()
    message = await receive()
    notes.append(repr(sorted(message.items())))


@case
async def stays(scope, receive, send):
    """Sees the end, and goes on for a moment."""
    await accepted(receive, send)
    print(repr(sorted((await receive()).items())), flush=True)
    await asyncio.sleep(0)


class WebSocketDisconnect(Exception):
    """As frameworks have it."""


@case
async def framework(scope, receive, send):
    await accepted(receive, send)
    if (await receive())["type"] == "websocket.disconnect":
        raise WebSocketDisconnect


ACCEPT = {"type": "websocket.accept"}
SEND = {"type": "websocket.send", "text": "a"}
MISUSES = {
    "send_first": [SEND],
    "accept_twice": [ACCEPT, ACCEPT],
    "after_close": [ACCEPT, close(), SEND],
    "after_refusal": [close(), ACCEPT],
    "deny_late": [ACCEPT, {"type": "websocket.http.response.start", "status": 401, "headers": []}],
    "deny_body": [{"type": "websocket.http.response.body", "body": b""}],
    "unknown": [{"type": "websocket.open"}],
    "http": [{"type": "http.response.start", "status": 200, "headers": []}],
    "neither": [ACCEPT, {"type": "websocket.send"}],
    "both": [ACCEPT, {"type": "websocket.send", "text": "a", "bytes": b"a"}],
    "text_bytes": [ACCEPT, {"type": "websocket.send", "text": b"a"}],
    "bytes_text": [ACCEPT, {"type": "websocket.send", "bytes": "a"}],
    "code": [ACCEPT, close(code=1006)],
    "text_code": [ACCEPT, close(code="1000")],
    "reason": [ACCEPT, close(reason="x" * 124)],
    "bytes_reason": [ACCEPT, close(reason=b"x")],
    "subprotocol": [{"type": "websocket.accept", "subprotocol": b"chat"}],
    "split_subprotocol": [{"type": "websocket.accept", "subprotocol": "a\r\nb: c"}],
    "protocol_header": [{"type": "websocket.accept", "headers": [(b"Sec-WebSocket-Protocol", b"a")]}],
    "header": [{"type": "websocket.accept", "headers": [(b"a", b"b\nc")]}],
}


@case
async def misuse(scope, receive, send):
    *before, last = MISUSES[scope["query_string"].decode()]
    for message in before:
        await send(message)
    try:
        await send(last)
    except Exception as error:
        notes.append("%s: %s" % (type(error).__name__, error))
