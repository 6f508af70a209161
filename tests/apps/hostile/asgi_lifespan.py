"""Apps that take part in lifespan, or do not; each callable is one case."""
import asyncio
import sys


async def http(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": repr(scope["state"]).encode()})


def of(function):
    """An app whose lifespan is that function."""

    async def app(scope, receive, send):
        await (function if scope["type"] == "lifespan" else http)(scope, receive, send)

    app.__name__ = function.__name__
    return app


@of
async def failed(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database\nat all"})


@of
async def exits(scope, receive, send):
    await receive()
    sys.exit("settings are missing")


@of
async def raises(scope, receive, send):
    raise ValueError("lifespan is not known here")


@of
async def raises_late(scope, receive, send):
    await receive()
    raise ValueError("after startup")


@of
async def ignores(scope, receive, send):
    pass


@of
async def answers_as_http(scope, receive, send):
    await http(scope, receive, send)


@of
async def ends(scope, receive, send):
    scope["state"]["a"] = 1
    await receive()
    await send({"type": "lifespan.startup.complete"})


@of
async def raises_at_the_end(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    raise ValueError("in shutdown")


@of
async def fails_at_the_end(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.failed", "message": "it hangs"})


@of
async def twice(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.startup.complete"})


@of
async def leaves_a_task(scope, receive, send):
    """Which ends when it is cancelled, after the app was shut down."""

    async def task():
        try:
            await asyncio.sleep(3600)
        finally:
            print("the task ended", file=sys.stderr)

    kept = asyncio.ensure_future(task())
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print("shutdown ran, %s" % kept.done(), file=sys.stderr)
    await send({"type": "lifespan.shutdown.complete"})
