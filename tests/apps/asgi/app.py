"""An ASGI app for the tests of the real program; no framework. What it does hangs on the path."""
import asyncio
import json
import os
import time
from urllib.parse import parse_qs

waiting = []
seen = {"cancelled": 0, "disconnected": 0, "sent": 0, "closed": []}


def asked(scope):
    return {name: values[-1] for name, values in parse_qs(scope["query_string"].decode()).items()}


async def answer(send, text, status=200, headers=()):
    body = text.encode()
    length = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": [*length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def body_of(receive):
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def lifespan(receive, send):
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup" and os.environ.get("FAILS"):
            await send({"type": "lifespan.startup.failed", "message": "no database today"})
            return
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def http(scope, receive, send):
    path, given = scope["path"], asked(scope)
    if path == "/scope":
        told = {
            name: value
            for name, value in scope.items()
            if name in ("type", "http_version", "method", "scheme", "path", "root_path", "server", "client")
        }
        told["raw_path"] = scope["raw_path"].decode()
        told["query"] = scope["query_string"].decode()
        told["headers"] = [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]]
        await answer(send, json.dumps(told))
    elif path == "/body":
        body = await body_of(receive)
        await answer(send, "%d %d" % (len(body), sum(body) % 1_000_003))
    elif path == "/together":  # nobody is answered before so many ask
        gate = asyncio.get_running_loop().create_future()
        waiting.append(gate)
        if len(waiting) == int(given["count"]):
            for one in waiting:
                one.set_result(None)
        await gate
        await answer(send, str(os.getpid()))
    elif path == "/disconnect":
        while (await receive())["type"] != "http.disconnect":
            pass
        seen["disconnected"] += 1
    elif path == "/sleep":
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            seen["cancelled"] += 1
            raise
    elif path == "/block":
        time.sleep(3600)
    elif path == "/die":
        os._exit(7)
    elif path == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(int(given["count"])):
            await send({"type": "http.response.body", "body": b"x" * int(given["size"]), "more_body": True})
            seen["sent"] += int(given["size"])
        await send({"type": "http.response.body"})
    elif path == "/events":
        kind = (b"content-type", b"text/event-stream; charset=utf-8")
        await send({"type": "http.response.start", "status": 200, "headers": [kind]})
        for number in range(int(given.get("count", 1))):
            data = b"data: %d\n\n" % number
            await send({"type": "http.response.body", "body": data, "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        seen["disconnected"] += 1
    elif path == "/hints":
        await send({"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]})
        await answer(send, "hinted")
    elif path == "/trailers":
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await send({"type": "http.response.body", "body": b"body"})
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"7")]})
    elif path == "/file":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.pathsend", "path": os.environ["FILE"]})
    elif path == "/raise":
        raise RuntimeError("what the log shows")
    elif path == "/stray":  # a task that it leaves behind answers
        asyncio.get_running_loop().create_task(answer(send, "too late"))
    elif path == "/bad":
        await answer(send, "x", headers=[(b"x-bad", b"\x01")])
        await asyncio.sleep(3600)
    elif path == "/bad-trailers":
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await send({"type": "http.response.body", "body": b"body"})
        await send({"type": "http.response.trailers", "headers": [(b"x-bad", b"\x01")]})
    elif path == "/seen":
        await answer(send, json.dumps({**seen, "pid": os.getpid()}))
    else:
        await answer(send, "%s %d\n" % (path, os.getpid()))


async def websocket(scope, receive, send):
    path, given = scope["path"], asked(scope)
    await receive()
    if path == "/refuse":
        await send({"type": "websocket.close"})
        return
    accept = {"type": "websocket.accept", "headers": [(b"x-own", b"1")]}
    if "protocol" in given:
        accept["subprotocol"] = given["protocol"]
    await send(accept)
    if path == "/close":
        await send({"type": "websocket.close", "code": 4001, "reason": "enough"})
        return
    if path == "/raise":
        raise RuntimeError("in a WebSocket")
    if path == "/kick":  # closes a client that is too slow for what is sent to it
        sending = asyncio.ensure_future(send({"type": "websocket.send", "bytes": bytes(8_000_000)}))
        await asyncio.sleep(0.2)
        await send({"type": "websocket.close", "code": 4002})
        await asyncio.wait([sending])
        return
    if path == "/broken-off":
        try:
            await asyncio.wait_for(send({"type": "websocket.send", "bytes": bytes(8_000_000)}), 0.2)
        except asyncio.TimeoutError:
            pass
        await asyncio.sleep(3600)
    if path == "/deaf":
        await asyncio.sleep(3600)
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            seen["closed"].append(message["code"])
            return
        if message.get("text") == "die":
            os._exit(7)
        await send({**message, "type": "websocket.send"})


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    else:
        await http(scope, receive, send)
