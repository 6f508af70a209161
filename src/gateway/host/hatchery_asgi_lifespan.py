

class Lifespan:
    """Tells the app that the process begins and ends; an app that knows nothing of that is not bothered with it."""

    def __init__(self, host):
        self.host = host
        self.state = {}  # of which each request has a copy
        self.task = None
        self.messages = deque()
        self.waiter = None  # of receive()
        self.answer = None  # the future of what the app says to what it is told
        self.told = None  # what that is
        self.received = False

    async def startup(self):
        """Up to its answer. A startup that has failed fails the process."""
        self.task = self.host.loop.create_task(self.run())
        said = await self.ask("lifespan.startup")
        if said is not None and said["type"] == "lifespan.startup.failed":
            text = "the app's lifespan.startup has failed: %s" % (said.get("message") or "it does not say why")
            fail(self.host, text)

    async def shutdown(self):
        """Up to its answer, or for as long as the master waits."""
        if self.task is None or self.task.done():
            return
        said = await self.ask("lifespan.shutdown")
        if said is not None and said["type"] == "lifespan.shutdown.failed":
            sys.stderr.write("the app's lifespan.shutdown has failed: %s\n" % (said.get("message") or "it does not say why"))
        await asyncio.wait([self.task], timeout=MOMENT)

    async def ask(self, kind):
        """What the app answers; None if it has ended without an answer."""
        self.told = kind
        self.answer = self.host.loop.create_future()
        self.messages.append({"type": kind})
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)
        await asyncio.wait([self.task, self.answer], return_when=asyncio.FIRST_COMPLETED)
        return self.answer.result() if self.answer.done() else None

    async def run(self):
        """Whatever goes wrong before the app has answered means that it does not know of this."""
        host = self.host
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await host.app(scope, self.receive, self.send)
        except GeneratorExit:
            raise
        except BaseException as error:
            if host.is_copy:
                end_copy(error, {})
            if isinstance(error, CancelledError):
                raise
            answered = self.answer is not None and self.answer.done()
            if self.received and not answered and isinstance(error, SystemExit):
                fail(host, describe(error))
            if self.told != "lifespan.startup" or answered:
                sys.stderr.write("the app's lifespan has failed:\n" + describe(error))
            elif self.received:
                text = "hatchery: the app raised after lifespan.startup, and serves without taking part in lifespan:\n"
                sys.stderr.write(text + describe(error))

    async def receive(self):
        while not self.messages:
            self.waiter = self.host.loop.create_future()
            await self.waiter
        self.received = True
        return self.messages.popleft()

    async def send(self, message):
        kind = type_of(message)
        allowed = self.told + ".complete", self.told + ".failed"
        if kind not in allowed:
            raise ValueError("%.100r cannot be sent now; it is %s" % (kind, shown_types(allowed)))
        if self.answer.done():
            raise Misuse("%s was sent after an answer to %s" % (kind, self.told))
        self.answer.set_result(message)
