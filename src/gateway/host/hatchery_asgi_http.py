

class Http(Exchange):
    """A request of HTTP and its response."""

    body = b""  # of the request, or None once the app has it
    file = None  # in its place: the descriptor of a file
    size = offset = 0  # of that
    status = 0  # once the app has given one
    head = None  # what is kept until the first part of the body
    length = None  # Content-Length as the app gave it
    flags = 0  # of the head
    given = 0  # bytes of the body
    hints = 0  # how many were sent
    bodiless = False
    streams = False  # it is an event stream: its unit is free once its head has been sent
    whole = False  # the body: trailers may follow
    is_special = False  # it is not sent as most are
    trailers = None  # a list, if the app sends some behind the body

    def take_file(self, descriptor):
        """Whether it is the body of the request."""
        info = os.fstat(descriptor)
        if info.st_mode & 0o170000 != REGULAR:
            os.close(descriptor)
            return False
        self.file, self.size = descriptor, info.st_size
        return True

    def drop(self):
        if self.file is not None:
            os.close(self.file)
            self.file = None

    async def receive(self):
        if self.gone or self.ended:
            return {"type": "http.disconnect"}
        if self.file is not None:
            return self.part()
        if self.body is not None:
            body, self.body = self.body, None
            return {"type": "http.request", "body": body, "more_body": False}
        while not (self.gone or self.ended):
            await self.wait()
        return {"type": "http.disconnect"}

    def part(self):
        """Of a body in a file, read only now: who does not ask for it does without."""
        data = os.pread(self.file, PART, self.offset)
        self.offset += len(data)
        more = bool(data) and self.offset < self.size
        if not more:
            self.drop()
            self.body = None
        return {"type": "http.request", "body": data, "more_body": more}

    async def send(self, message):
        kind = message.get("type") if type(message) is dict else type_of(message)
        if kind == "http.response.body":
            body = message.get("body", b"")
            if type(body) is not bytes:
                body = as_bytes(message, "body")
            head = self.head
            link = self.link
            more = message.get("more_body", False)
            if head is None or more or self.is_special or len(body) > self.window or link.blocked or self.gone:
                return await self.send_body(body, more)
            count = len(body)
            if self.length is None:
                head += b"content-length\0%d\0" % count
                self.flags |= LENGTH
            elif self.length != count:
                return await self.send_body(body, more)
            self.head = None
            number = self.number
            link.out += HEADER.pack(len(head), HEAD, self.flags, 0, number), head
            if count:
                link.out += HEADER.pack(count, BODY, 0, 0, number), body
                link.size += count
                if link.size >= TOGETHER:
                    link.flush()
            self.end()
        elif kind == "http.response.start":
            self.start(message)
        elif kind == "http.response.pathsend":
            await self.send_path(message)
        elif kind == "http.response.trailers":
            self.send_trailers(message)
        elif kind == "http.response.early_hint":
            self.send_hint(message)
        else:
            known = "start", "body", "pathsend", "trailers", "early_hint"
            raise ValueError(
                "%.100r cannot be sent in answer to a request; it is %s"
                % (type_of(message), shown_types("http.response." + name for name in known))
            )

    def start(self, message):
        self.check_here()
        if self.status:
            raise Misuse("http.response.start was sent twice")
        status = message.get("status")
        if not isinstance(status, int) or isinstance(status, bool):
            raise TypeError("the status of http.response.start must be int, not %.100r" % (status,))
        if not 200 <= status <= 999:
            raise ValueError("the status of a response is from 200 to 999, not %d" % status)
        parts = pairs_of(message.get("headers", ()), "http.response.start")
        if b"content-length" in parts or b"content-type" in parts:
            self.look_at(parts)
        if status in BODILESS:
            self.bodiless = True
            if status == 205:  # says so by its length (RFC 9110 section 15.3.6)
                parts = self.without_length(parts) + [b"content-length", b"0"]
                self.length = 0
        elif self.method == "HEAD":
            self.bodiless = True
        if message.get("trailers"):
            self.trailers = []
            self.flags |= TRAILED
        self.is_special = self.bodiless or self.streams or self.trailers is not None
        if self.length is not None:
            self.flags |= LENGTH
        parts.insert(0, b"%d" % status)
        parts.append(b"")
        self.head = b"\0".join(parts)
        self.status = status

    @staticmethod
    def without_length(parts):
        pairs = [parts[at : at + 2] for at in range(0, len(parts), 2)]
        return [part for pair in pairs if pair[0] != b"content-length" for part in pair]

    def look_at(self, parts):
        """Finds in the names and values of a head what is needed of it."""
        for name, value in zip(parts[::2], parts[1::2]):
            if name == b"content-length":
                if not value.strip().isdigit():
                    raise ValueError("the content-length must be a number, not %.100r" % (value,))
                self.length = int(value)
            elif name == b"content-type" and value.lower().startswith(b"text/event-stream"):
                self.streams = True

    def send_head(self, length=None):
        """The head, to be sent once; with the length of the body if that is known and the app gave none."""
        head, self.head = self.head, None
        if self.length is None and length is not None and self.trailers is None and self.status not in BODILESS:
            if length or not self.bodiless:
                head += b"content-length\0%d\0" % length
                self.length = length
                self.flags |= LENGTH
        self.link.put(HEADER.pack(len(head), HEAD, self.flags, 0, self.number), head)
        if self.streams:
            self.release()

    def check_body(self, kind):
        self.check_here()
        if not self.status:
            raise Misuse("%s was sent before http.response.start" % kind)
        if self.ended or self.whole:
            raise Misuse("%s was sent after the end of the response" % kind)

    async def send_body(self, body, more):
        """What is no whole body at once, or has no room."""
        self.check_body("http.response.body")
        if self.head is not None:
            self.send_head(None if more else len(body))
        if body and not self.bodiless:
            if self.length is not None and self.given + len(body) > self.length:
                surplus = self.given + len(body) - self.length
                if surplus <= len(body):  # else it was told
                    text = "the body is longer than its content-length of %d bytes: the rest is not sent"
                    self.complain(text % self.length)
                body = body[: max(self.length - self.given, 0)]
                self.given += surplus
            self.given += len(body)
            if len(body) <= self.window and len(body) <= PART and not self.link.blocked:
                self.window -= len(body)
                if body:
                    self.link.put(HEADER.pack(len(body), BODY, 0, 0, self.number), body)
            else:
                try:
                    await self.pass_on(BODY, body)
                except CancelledError:  # a part is missing
                    if not (self.gone or self.ended):
                        self.end(ABORT)
                    raise
        elif more:  # a loop that sends nothing must not hold up the others
            await asyncio.sleep(0)
            self.check_here()
        if not more:
            self.complete()

    def complete(self):
        """The body is whole."""
        if self.length is not None and self.given < self.length and not self.bodiless:
            text = "the body is shorter than its content-length of %d bytes: the client sees that it broke off after %d"
            self.complain(text % (self.length, self.given))
            return self.end(ABORT)
        self.whole = True
        if self.trailers is None:
            self.end()

    async def send_path(self, message):
        """Extension http.response.pathsend: the worker sends the file, and the process is free at once."""
        self.check_body("http.response.pathsend")
        if self.head is None:
            raise Misuse("http.response.pathsend was sent after a part of the body")
        path = message.get("path")
        if not isinstance(path, str) or not os.path.isabs(path):
            raise ValueError("the path of http.response.pathsend must be a str and absolute, not %.200r" % (path,))
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            info = os.fstat(descriptor)
            if info.st_mode & 0o170000 != REGULAR:
                raise ValueError("the path of http.response.pathsend is no regular file: %.200r" % path)
            size = info.st_size if self.length is None else min(info.st_size, self.length)
            self.send_head(size)
            self.given = size
            if size and not self.bodiless:
                header = frame(FILE, 0, self.number, EXTENT.pack(0, size))
                self.link.out.append((header, descriptor))
                self.link.files = True
                descriptor = None
                self.link.flush()
        finally:
            if descriptor is not None:
                os.close(descriptor)
        self.complete()

    def send_trailers(self, message):
        self.check_here()
        if self.trailers is None:
            raise Misuse("http.response.trailers was sent, but http.response.start has not announced it by 'trailers'")
        if self.ended or not self.whole:
            raise Misuse("http.response.trailers was sent %s" % ("twice" if self.ended else "before the end of the body"))
        self.trailers += pairs_of(message.get("headers", ()), "http.response.trailers")
        if sum(map(len, self.trailers)) + len(self.trailers) > LONGEST_FIELDS:
            raise ValueError("the headers of http.response.trailers are longer than %d bytes" % LONGEST_FIELDS)
        if not message.get("more_trailers", False):
            payload = b"\0".join([*self.trailers, b""]) if self.trailers else b""
            self.link.put(HEADER.pack(len(payload), TRAILERS, 0, 0, self.number), payload)
            self.end()

    def send_hint(self, message):
        """Extension http.response.early_hint: an interim response 103 (RFC 8297)."""
        self.check_here()
        if self.status:
            raise Misuse("http.response.early_hint was sent after http.response.start")
        links = message.get("links", ())
        if isinstance(links, (bytes, str)):
            raise TypeError("the links of http.response.early_hint must be a list of bytes, not %.200r" % (links,))
        self.hints += 1
        if self.hints > MOST_HINTS:
            raise Misuse("more than %d http.response.early_hint were sent" % MOST_HINTS)
        parts = pairs_of([(b"link", link) for link in links], "http.response.early_hint")
        if parts:
            payload = b"\0".join([b"103", *parts, b""])
            self.link.put(HEADER.pack(len(payload), HEAD, 0, 0, self.number), payload)

    def on_return(self):
        if self.gone:
            return
        if not self.status:
            raise Misuse("the app returned without http.response.start")
        raise Misuse("the app returned before the end of its response: the last http.response.body has more_body")

    def on_error(self, error):
        began = self.status and self.head is None
        when = " behind its response" if self.ended else " in the middle of its response" if began else ""
        if not isinstance(error, CancelledError) or not self.gone:
            self.report(error, when)

    def over(self, began):
        self.drop()
        super().over(began)

    def on_lost(self):
        self.on_cancel(MOMENT)

    def dismiss(self):
        """The process leaves. An event stream ends as if the app had ended it: its client connects anew."""
        if not self.gone:
            self.lose(0 if self.streams and self.head is None else ABORT)
