

class WebSocket(Http):
    """A WebSocket: the worker speaks its frames, we have its messages.

    | stage | app sends | then |
    |---|---|---|
    | asked | websocket.accept | open |
    | asked | websocket.close | refused: 403 |
    | asked | websocket.http.response.start, .body | refused by that response |
    | open | websocket.send | open |
    | open | websocket.close | closed |
    """

    kind = "websocket"
    stage = "asked"
    connected = False  # the app has received websocket.connect
    closing = None  # the message websocket.disconnect, once that is to be received
    turn = False  # a message is sent in parts: no other one may come between
    parts = None  # of a message that is not whole
    held = 0  # bytes of those
    taken = 0  # bytes that the app has, and for which no credit was given yet

    def __init__(self, link, number, scope, ident):
        super().__init__(link, number, scope, ident)
        self.method = "WebSocket"
        scope["type"] = "websocket"
        del scope["method"]
        offered = b",".join([value for name, value in scope["headers"] if name == b"sec-websocket-protocol"])
        scope["subprotocols"] = [part.strip() for part in str(offered, "latin-1").split(",") if part.strip()]
        scope["extensions"] = {"websocket.http.response": {}, "hatchery": scope["extensions"]["hatchery"]}
        self.messages = deque()  # with the bytes that each takes

    async def receive(self):
        if not self.connected:
            self.connected = True
            return {"type": "websocket.connect"}
        while not self.messages:
            if self.closing is not None:
                return dict(self.closing)
            await self.wait()
        message, size = self.messages.popleft()
        self.take(size)
        return message

    def take(self, size):
        """So many bytes were taken; the worker is told of them together, before it must wait."""
        self.taken += size
        if self.taken >= WINDOW_IN // 4 and not self.gone:
            self.link.put(HEADER.pack(COUNT.size, CREDIT, 0, 0, self.number), COUNT.pack(self.taken))
            self.taken = 0

    def on_message(self, kind, flags, payload):
        """A message, or a part of one."""
        if self.stage != "open":  # closed meanwhile
            return
        size = len(payload)
        if flags & MORE or self.parts is not None:
            if self.parts is None:
                self.parts = []
            self.parts.append(payload)
            self.held += size
            if self.held > self.link.host.longest:
                return self.close(1009, "the message is longer than %d bytes" % self.link.host.longest)
            if flags & MORE:
                return self.take(size)
            payload = b"".join(self.parts)
            self.parts, self.held = None, 0
        if kind == TEXT:
            message = {"type": "websocket.receive", "text": str(payload, "utf-8", "replace")}
        else:
            message = {"type": "websocket.receive", "bytes": payload}
        self.messages.append((message, size + MESSAGE))
        if self.waiters:
            self.wake()

    def on_close(self, code, reason):
        """The client has closed it, or was lost."""
        self.disconnect(code, reason)
        self.lose(0)

    def disconnect(self, code, reason=""):
        if self.closing is None:
            self.closing = {"type": "websocket.disconnect", "code": code, "reason": reason}
        if self.waiters:
            self.wake()

    async def send(self, message):
        kind = message.get("type") if type(message) is dict else type_of(message)
        stage = self.stage
        if kind == "websocket.send" and stage == "open":
            await self.send_message(message)
        elif kind == "websocket.close" and stage in ("asked", "open"):
            self.send_close(message)
        elif kind == "websocket.accept" and stage == "asked":
            self.accept(message)
        elif kind == "websocket.http.response.start" and stage == "asked":
            self.start({**message, "type": "http.response.start"})
            self.stage = "refusing"
        elif kind == "websocket.http.response.body" and stage == "refusing":
            await super().send({**message, "type": "http.response.body"})
        else:
            self.refuse_message(type_of(message))

    def refuse_message(self, kind):
        known = "websocket.accept", "websocket.send", "websocket.close", "websocket.http.response.start"
        if kind not in (*known, "websocket.http.response.body"):
            raise ValueError("%.100r cannot be sent to a WebSocket; it is %s" % (kind, shown_types(known)))
        self.check_here()
        if self.stage == "asked":
            before = known[3] if kind == "websocket.http.response.body" else known[0]
            raise Misuse("%s was sent before %s" % (kind, before))
        if self.stage == "open":
            raise Misuse("%s was sent after websocket.accept" % kind)
        raise Misuse("%s was sent after the WebSocket was closed, or in the midst of its refusal" % kind)

    async def send_message(self, message):
        """websocket.send"""
        self.check_here()
        data, text = message.get("bytes"), message.get("text")
        if text is not None and data is None:
            if not isinstance(text, str):
                raise TypeError("the text of websocket.send must be str, not %s" % type(text).__name__)
            kind, data = TEXT, text.encode()
        elif data is not None and text is None:
            kind, data = BINARY, as_bytes(message, "bytes")
        else:
            raise ValueError("websocket.send must have either bytes or text, not %s" % ("both" if text else "none"))
        size = len(data)
        link = self.link
        if size + MESSAGE <= self.window and size <= PART and not link.blocked and not self.turn:
            self.window -= size + MESSAGE
            link.out += HEADER.pack(size, kind, 0, 0, self.number), data
            link.size += size
            if link.size >= TOGETHER:
                link.flush()
            elif not link.flushing:
                link.schedule()
        else:
            await self.send_parts(kind, data)

    async def send_parts(self, kind, data):
        while self.turn:
            await self.wait()
        self.turn = True
        try:
            await self.pass_on(kind, data, MORE)
            self.window -= MESSAGE
        except BaseException:  # as a rule it is cancelled: what follows would be taken for the rest of the message
            if self.begun and not (self.gone or self.ended):
                self.close(1011, "a message broke off")
            raise
        finally:
            self.turn = False
            self.wake()

    def accept(self, message):
        self.check_here()
        subprotocol = message.get("subprotocol")
        if subprotocol is not None and not isinstance(subprotocol, str):
            raise TypeError("the subprotocol of websocket.accept must be str, not %.100r" % (subprotocol,))
        parts = pairs_of(message.get("headers", ()), "websocket.accept")
        if b"sec-websocket-protocol" in parts[::2]:
            raise ValueError("websocket.accept names the subprotocol by its key 'subprotocol', not in its headers")
        chosen = (subprotocol or "").encode("latin-1")
        if b"\0" in chosen or b"\r" in chosen or b"\n" in chosen:
            raise ValueError("a control character in the subprotocol of websocket.accept: %.100r" % subprotocol)
        self.stage = "open"
        payload = b"\0".join([chosen, *parts, b""])
        self.link.put(HEADER.pack(len(payload), ACCEPT, 0, 0, self.number), payload)
        self.release()

    def send_close(self, message):
        self.check_here()
        code = message.get("code", 1000)
        code = 1000 if code is None else code
        if not isinstance(code, int) or not (1000 <= code <= 1014 or 3000 <= code <= 4999) or code in (1004, 1005, 1006):
            raise ValueError("the code of websocket.close must be 1000 to 1014 or 3000 to 4999, not %.100r" % (code,))
        reason = text_of(message, "reason", 123)
        if self.stage == "asked":
            return self.refuse()
        self.close(code, reason)

    def refuse(self):
        """Closed before it was accepted."""
        self.stage = "refused"
        head = b"403\0content-length\x000\0"
        self.link.put(HEADER.pack(len(head), HEAD, LENGTH, 0, self.number), head)
        self.disconnect(1006)
        self.end()

    def close(self, code, reason):
        """We close it; whatever follows is for nobody."""
        if isinstance(reason, str):
            reason = reason.encode()
        self.stage = "closed"
        self.link.put(HEADER.pack(CODE.size + len(reason), CLOSE, 0, 0, self.number), CODE.pack(code) + reason)
        self.end()
        self.disconnect(code, str(reason, "utf-8"))

    def complete(self):
        super().complete()
        self.stage = "refused"
        self.disconnect(1006)

    def lose(self, abort=ABORT):
        self.disconnect(1006)
        super().lose(abort)

    def on_return(self):
        if self.gone:
            return
        if self.stage == "asked":
            raise Misuse("the app returned without websocket.accept or websocket.close")
        if self.stage == "refusing":
            return super().on_return()
        self.close(1000, "")

    def on_error(self, error):
        if self.stage == "open" and not self.gone and not self.ended:
            self.close(1011, "")
        elif self.stage == "asked" or self.stage == "refusing":
            return super().on_error(error)
        if not isinstance(error, CancelledError):
            self.report(error, "")

    def dismiss(self):
        """The process leaves."""
        if self.stage == "open" and not self.ended:
            self.close(GOING_AWAY, "")
            self.gone = True
        elif not self.gone:
            self.lose()
