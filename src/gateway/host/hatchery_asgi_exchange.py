

class Exchange:
    """One request and what the app does with it, in a task of its own."""

    kind = "http"
    task = None
    gone = False  # nobody waits for it any more: receive() says so, and send() raises
    ended = False  # END was said, or goes with what is sent next
    due = False  # the latter
    abort = 0  # flags of that END
    holds = True  # its unit
    waiters = ()
    served = False  # the app was called

    def __init__(self, link, number, scope, ident):
        self.link = link
        self.number = number
        self.scope = scope
        self.ident = ident
        self.window = link.window  # bytes that may be sent
        self.method = scope["method"]  # the app may change that
        self.path = scope["path"]

    @property
    def unit(self):
        return self.number & 65535

    def what(self):
        return "%s %s" % (self.method, self.path)

    async def run(self):
        """The task. What the app raises never leaves it, but for its cancellation."""
        host = self.link.host
        began = monotonic()
        try:
            if not self.gone:
                self.served = True
                await host.app(self.scope, self.receive, self.send)
                if host.is_copy:
                    end_copy(None, self.environ())
                if not self.ended:
                    self.on_return()
        except GeneratorExit:  # the process ends
            raise
        except BaseException as error:  # also SystemExit: a view does not end the server
            if host.is_copy:
                end_copy(error, self.environ())
            self.on_error(error)
            if isinstance(error, CancelledError):
                raise
        finally:
            self.over(began)

    def over(self, began):
        """The last frame of the stream; what END had to wait for goes with it."""
        link, number = self.link, self.number
        host = link.host
        if host.is_copy:
            return
        self.gone = True  # a task that it has left behind may still send
        if self.waiters:
            self.wake()
        link.exchanges.pop(number, None)
        took = monotonic() - began if self.served else 0
        micros = int(took * 1_000_000) if took < LONGEST_TIME else MOST_MICROS
        if not self.ended:
            self.abort, self.due, self.ended = ABORT, True, True
        if self.due:
            self.due = False
            link.out.append(ENDED.pack(0, END, self.abort, 0, number, FREE_SIZE, FREE, 0, 0, number, micros))
        else:
            link.out.append(FREED.pack(FREE_SIZE, FREE, 0, 0, number, micros))
        if not link.flushing:
            link.schedule()
        if self.holds and (link.dead or host.asked):
            self.release()
        if link.dead and not link.exchanges:
            host.streams.discard(link)
        if self.served and next(host.served) == host.enough:
            host.tell(WORN, COUNT.pack(host.enough))

    def release(self):
        """The unit is free, for whoever has asked."""
        self.holds = False
        link = self.link
        key = link.row, self.unit
        if link.dead or key in link.host.asked:
            link.host.asked.discard(key)
            link.host.free(link.row, [self.unit])

    def end(self, abort=0):
        """END goes with what is sent next, together with FREE if the task ends by then."""
        self.abort = abort
        self.ended = self.due = True
        link = self.link
        link.ends.append(self)
        if not link.flushing:
            link.schedule()
        if self.waiters:
            self.wake()

    def lose(self, abort=ABORT):
        """Nobody waits for it any more: it sees that, and END is said at once."""
        self.gone = True
        if not self.ended:
            self.end(abort)
        elif self.waiters:
            self.wake()

    def on_cancel(self, moment):
        """CANCEL: the task has so many seconds to end by itself. What runs behind a whole answer is the app's affair."""
        if self.ended or self.gone:
            return
        self.lose()
        if moment:
            self.link.host.loop.call_later(moment, self.cancel)
        else:
            self.cancel()

    def cancel(self):
        """A task that has not begun would not even see it: it ends by itself."""
        if self.task is not None and self.served and not self.task.done():
            self.task.cancel()

    async def wait(self):
        """Until something happens to it."""
        waiter = self.link.host.loop.create_future()
        if not self.waiters:
            self.waiters = []
        self.waiters.append(waiter)
        try:
            await waiter
        finally:
            self.waiters.remove(waiter)

    def wake(self):
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)

    def credit(self, count):
        self.window += count
        if self.waiters:
            self.wake()

    def check_here(self):
        if self.gone:
            raise Disconnected(EPIPE, "the client has left")

    async def room(self, wanted):
        """Waits until anything can be sent; how many bytes of so many."""
        link = self.link
        while True:
            self.check_here()
            if self.ended:  # meanwhile, by another task
                raise Disconnected(EPIPE, "the answer has ended")
            if link.blocked:
                link.writers.append(self)
            elif self.window > 0:
                return min(self.window, wanted, PART)
            await self.wait()

    async def pass_on(self, kind, data, more=0):
        """Sends data in parts, as there is room; all but the last with the flags `more`."""
        link, number = self.link, self.number
        view = memoryview(data)
        self.begun = False
        while True:
            room = await self.room(len(view))
            self.begun = True
            part, view = view[:room], view[room:]
            self.window -= len(part)
            link.put(HEADER.pack(len(part), kind, more if view else 0, 0, number), part)
            if not view:
                return

    def environ(self):
        """What report() shows of it."""
        return {"REQUEST_METHOD": self.method, "SCRIPT_NAME": "", "PATH_INFO": self.path, "REQUEST_ID": self.ident}

    def report(self, error, when):
        """What came of a disconnect or of a cancellation is no error of the app."""
        seen = set()
        cause = error
        while self.gone and cause is not None and id(cause) not in seen:
            if isinstance(cause, (Disconnected, CancelledError)) or type(cause).__name__ in DISCONNECTS:
                return
            seen.add(id(cause))
            cause = cause.__cause__ or cause.__context__
        report(error, self.environ(), when)

    def complain(self, text):
        """A mistake of the app that nothing can raise any more."""
        sys.stderr.write("%s (request %s): %s\n" % (self.what(), self.ident, text))


def type_of(message):
    """The type of a message that the app sends."""
    if not isinstance(message, dict):
        raise TypeError("what is sent must be a dict, not %s" % type(message).__name__)
    kind = message.get("type")
    if not isinstance(kind, str):
        raise ValueError("what is sent must have a type, as 'http.response.start': %.200r" % (message,))
    return kind


def as_bytes(message, key):
    """The bytes under that key, none if it is missing."""
    data = message.get(key, b"")
    if type(data) is bytes:
        return data
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise TypeError("the %s of %s must be bytes, not %s" % (key, message["type"], type(data).__name__))


def pairs_of(headers, where):
    """Names and values as a list, one after the other, the names in lower case."""
    parts = []
    pair = headers
    try:
        for pair in headers:
            name, value = pair
            parts += (name.lower(), value)
        joined = b"".join(parts)
    except (TypeError, ValueError, AttributeError):
        text = "the headers of %s must be pairs of bytes, as (b'content-type', b'text/plain'), not %.200r"
        raise TypeError(text % (where, pair)) from None
    if b"\r" in joined or b"\n" in joined or b"\0" in joined:
        raise ValueError("a control character in the headers of %s: %.200r" % (where, parts))
    if len(joined) + len(parts) > LONGEST_FIELDS:
        raise ValueError("the headers of %s are longer than %d bytes" % (where, LONGEST_FIELDS))
    return parts


def text_of(message, key, longest):
    """The text under that key as UTF-8, empty if it is missing."""
    text = message.get(key) or ""
    if not isinstance(text, str):
        raise TypeError("the %s of %s must be str, not %s" % (key, message["type"], type(text).__name__))
    data = text.encode()
    if len(data) > longest:
        raise ValueError("the %s of %s is longer than %d bytes" % (key, message["type"], longest))
    return data


def shown_types(types):
    return " or ".join("'%s'" % name for name in types)
