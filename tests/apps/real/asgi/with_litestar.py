"""Pages written with Litestar."""
from litestar import Litestar, Request, WebSocket, get, websocket
from litestar.logging import LoggingConfig
from litestar.response import Stream


@get("/hello/{name:str}")
async def hello(request: Request, name: str) -> dict:
    opened = request.app.state.opened
    return {"hello": name, "url": str(request.url), "client": request.client.host, "opened": opened}


@get("/lines")
async def lines(many: int) -> Stream:
    return Stream((b"line %d\n" % number for number in range(many)), media_type="text/plain")


@get("/broken")
async def broken() -> None:
    raise RuntimeError("broken on purpose")


@websocket("/echo")
async def echo(socket: WebSocket) -> None:
    await socket.accept(subprotocols="chat")
    while True:
        await socket.send_text("heard " + await socket.receive_text())


def started(app):
    app.state.opened = "at startup"


# Without a word of it, Litestar answers 500 and logs nothing.
logging = LoggingConfig(log_exceptions="always")
app = Litestar([hello, lines, broken, echo], on_startup=[started], logging_config=logging)
