"""The pages of `tests/it/real_apps/asgi.rs`, written with FastAPI."""
import asyncio
import hashlib
import os
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, UploadFile, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse, StreamingResponse


@asynccontextmanager
async def lifespan(app):
    app.state.opened = "at startup"
    yield
    print("closed at shutdown", flush=True)


app = FastAPI(lifespan=lifespan)


@app.get("/hello/{name}")
async def hello(name: str, request: Request):
    url = str(request.url_for("hello", name=name))
    return {"hello": name, "url": url, "client": request.client.host, "opened": request.app.state.opened}


@app.get("/number/{number}")
def number(number: int):
    """In a thread, as it is no coroutine; anything else than a number is refused by FastAPI."""
    return {"number": number}


@app.post("/form")
async def form(file: UploadFile):
    digest, size = hashlib.sha256(), 0
    while part := await file.read(65536):
        digest.update(part)
        size += len(part)
    return {"name": file.filename, "size": size, "sha256": digest.hexdigest()}


@app.get("/lines")
async def lines(many: int):
    async def stream():
        for number in range(many):
            yield "line %d\n" % number

    return StreamingResponse(stream(), media_type="text/plain")


@app.get("/meet")
async def meet(request: Request):
    """Answers once two are here: both requests run in one process."""
    state = request.app.state
    if not hasattr(state, "first"):
        state.first = asyncio.Event()
        await state.first.wait()
    else:
        state.first.set()
    return "met"


@app.get("/photo")
async def photo():
    return FileResponse(os.environ["PHOTO"], media_type="image/x-noise")


@app.get("/broken")
async def broken():
    raise RuntimeError("broken on purpose")


@app.websocket("/echo")
async def echo(websocket: WebSocket):
    await websocket.accept(subprotocol=websocket.scope["subprotocols"][0])
    try:
        while True:
            await websocket.send_text("heard " + await websocket.receive_text())
    except WebSocketDisconnect as left:
        print("left with", left.code, flush=True)
