"""Serves an ASGI app, version 3 (asgi.readthedocs.io), in place of what `Host` does for WSGI.

This text and those beside it (hatchery_asgi_*.py) stand as one string in the program and are compiled only for an app that
speaks ASGI, among the names of the host program. Everything happens in one thread, in one event loop. Each worker has one
stream (`Link`) for all its requests (`Exchange`): `Http`, `WebSocket`. The app's `Lifespan` comes before the first of them
and after the last. Frames: src/control/frame.rs; why so: docs/decisions/0029-asgi.md.
"""
import asyncio
from asyncio import CancelledError, Task
from time import time

ACCEPT, TEXT, BINARY, CLOSE, TRAILERS = range(25, 30)
MORE, TRAILED = 16, 32  # flags
WHOLE = 65535  # the unit in a HELLO to a whole process
WINDOW_IN = 64 * 1024  # bytes of messages that a worker sends beyond those that were credited
MESSAGE = 64  # what each message takes of either window besides its payload
PART = 64 * 1024  # of a body, of a message
CODE = Struct("<H")
WINDOW = 64 * 1024  # of an answer, unless the master says another one
MOMENT = 1  # seconds in which a request that nobody waits for may end by itself
HURRY = 0.1  # the same after TERM
LAST_TASKS = 5  # seconds for tasks that go on after they were cancelled, before the app is shut down
GOING_AWAY = 1012  # "service restart", the code for WebSockets that are open at the end
LONGEST_FIELDS = 512 * 1024  # of a head: a frame takes no more than 1 MiB
BODILESS = 204, 205, 304  # statuses without a body
# What frameworks raise where an app that waits for the client gets a disconnect (Starlette, Litestar; Falcon).
DISCONNECTS = "ClientDisconnect", "WebSocketDisconnect", "WebSocketDisconnected"
DEEPEST = 100  # awaits that are shown of a task
INTERFACE_VERSIONS = {"version": "3.0", "spec_version": "2.5"}


class Misuse(RuntimeError):
    """The app has called receive() or send() where ASGI does not allow that."""


class Disconnected(ConnectionResetError):
    """What send() raises once nobody waits for more: an OSError, as ASGI wants it since version 2.4."""


def new_loop(may_use):
    """The loop of uvloop if that is installed; before, what the app has made at its import if we `may_use` it."""
    if may_use and sys.version_info < (3, 14):
        made = getattr(getattr(asyncio.get_event_loop_policy(), "_local", None), "_loop", None)
        if made is not None and not made.is_closed():
            return made
    try:
        from uvloop import new_event_loop
    except ImportError:
        return asyncio.new_event_loop()
    return new_event_loop()


def starter(loop):
    """What starts a coroutine as a task: at once, where Python can, so that most answers need no further turn of the loop."""
    if sys.version_info >= (3, 12):
        return lambda coroutine: Task(coroutine, loop=loop, name="request", eager_start=True)
    return lambda coroutine: Task(coroutine, loop=loop, name="request")


def awaited(coroutine):
    """The stack of a task that waits, as lines of faulthandler: the innermost call first."""
    lines = []
    while coroutine is not None and len(lines) < DEEPEST:
        kind = type(coroutine).__name__
        prefix, follow = {"generator": ("gi", "yieldfrom"), "async_generator": ("ag", "await")}.get(kind, ("cr", "await"))
        frame = getattr(coroutine, prefix + "_frame", None)
        if frame is None:
            break
        code = frame.f_code
        if frame.f_globals is not globals():
            lines.append('  File "%s", line %d in %s' % (code.co_filename, frame.f_lineno or 0, code.co_name))
        coroutine = getattr(coroutine, "%s_%s" % (prefix, follow), None)
    return lines[::-1] or ["  <no Python frame>"]


class Asgi(Host):
    """The process of an ASGI app. It is made of a `Host`, once the app is known."""

    def prepare(self, settings, may_use_loop):
        self.loop = None
        self.window = int(settings.get("WINDOW") or WINDOW)
        self.longest = int(settings.get("MAX_MESSAGE") or 1 << 20)
        self.count = max(int(settings.get("MAX_CONNECTIONS") or 1), 1)  # units
        self.signal = int(settings.get("STACKS_SIGNAL") or 0)
        self.may_use_loop = may_use_loop  # of the app's import: not what a template shares with all that it has forked
        self.lifespan = Lifespan(self)
        self.orders = None  # done when the process must leave
        self.hurried = False
        self.term = None

    def serve(self):
        loop = self.loop = new_loop(self.may_use_loop)
        os.set_blocking(self.hears.fileno(), False)  # an event may tell of what was read since
        asyncio.set_event_loop(loop)
        self.start = starter(loop)
        self.orders = loop.create_future()
        if self.signal:
            faulthandler.unregister(self.signal)
            signal(self.signal, self.show_tasks)  # to which the other one passes it on
            faulthandler.register(self.signal, all_threads=True, chain=True)
        self.run(self.lifespan.startup())
        self.catch_term()
        loop.add_reader(self.listener.fileno(), self.on_connect)
        loop.add_reader(self.hears.fileno(), self.on_master)
        self.tell(READY, b"asgi")
        self.run(self.until_left())
        self.run(self.wind_up())
        self.tell_lingering()
        loop.close()

    def run(self, coroutine):
        """Up to its end, whatever a task or a callback of the app raises to end the program."""
        task = self.loop.create_task(coroutine)
        while True:
            try:
                return self.loop.run_until_complete(task)
            except (SystemExit, KeyboardInterrupt) as error:
                if self.is_copy:
                    end_copy(error, {})
                if task.done():
                    raise
                sys.stderr.write("a task has tried to end the process:\n" + describe(error))

    def catch_term(self):
        master = os.getppid()

        def on_term(number, interrupted):
            self.hurried = True
            if os.getppid() != master:  # it is dead: what runs has a moment, since nobody is left to end us
                self.orphaned = True
                faulthandler.dump_traceback_later(LAST_MOMENT, exit=True, file=2)
            self.loop.call_soon_threadsafe(self.leave)

        signal(SIGTERM, on_term)

    def leave(self):
        self.leaving = True
        if not self.orders.done():
            self.orders.set_result(None)

    async def until_left(self):
        """Serves; then tells all that go on, ends them, and has the app shut down."""
        await self.orders
        self.loop.remove_reader(self.listener.fileno())
        exchanges = [exchange for link in self.streams for exchange in list(link.exchanges.values())]
        for exchange in exchanges:
            exchange.dismiss()
        for moment, cancels in ((HURRY if self.hurried else MOMENT, True), (LAST_TASKS, False)):
            tasks = [exchange.task for exchange in exchanges if exchange.task is not None and not exchange.task.done()]
            if not tasks:
                break
            await asyncio.wait(tasks, timeout=moment)
            for task in tasks:
                if cancels:
                    task.cancel()
        await self.lifespan.shutdown()
        for link in list(self.streams):
            link.flush()
            link.close()

    async def wind_up(self):
        """What the app has left in the loop ends as asyncio.run() ends it."""
        here = asyncio.current_task()
        left = [task for task in asyncio.all_tasks() if task is not here]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=MOMENT)
        await self.loop.shutdown_asyncgens()
        if hasattr(self.loop, "shutdown_default_executor"):  # Python 3.9; a thread that does not end is told of
            await asyncio.wait([self.loop.create_task(self.loop.shutdown_default_executor())], timeout=MOMENT)

    def stream(self, connection):
        return Link(self, connection)

    def on_connect(self):
        super().on_connect()
        if self.strangers:
            self.loop.call_later(ACQUAINTANCE, self.admit)

    def on_master(self):
        super().on_master()
        if self.orphaned:
            self.hurried = True
            self.loop.remove_reader(self.hears.fileno())
        if self.leaving:
            self.leave()

    def free(self, row, units):
        """No request of that worker runs on these units."""
        try:
            write_all(self.tells, b"".join([frame(FREE, 0, 0, ROW_UNIT.pack(row, unit)) for unit in units]))
        except (OSError, ValueError):  # as in tell()
            pass

    def holding(self, row):
        """The units on which a request of that worker runs, with the stream that it came by."""
        for link in self.streams:
            if link.row == row:
                for exchange in link.exchanges.values():
                    if exchange.holds:
                        yield exchange.unit, link

    def on_ask(self, row, unit):
        """What lies in the stream is looked at first: it may be a request for that unit."""
        for link in [link for link in self.streams if link.row == row]:
            link.on_readable()
        if any(held == unit for held, _ in self.holding(row)):
            self.asked.add((row, unit))
        else:
            self.free(row, [unit])

    def on_gone(self, row):
        """Tells the master which units run no request of a dead worker. Of those that do, the end of the request does; a
        stream that is not hung up belongs to a new worker in that row."""
        self.on_connect()
        for link in [link for link in self.streams if link.row is None]:
            link.on_readable()
        hangup = poll()
        ours = {link.socket.fileno(): link for link in self.streams if link.row == row and not link.dead}
        for descriptor in ours:
            hangup.register(descriptor, 0)
        for descriptor, event in hangup.poll(0):
            if event & POLLHUP:
                ours[descriptor].end()
        running = {unit for unit, link in self.holding(row) if link.dead}
        self.free(row, [unit for unit in range(self.count) if unit not in running])

    def show_tasks(self, number, interrupted):
        """The stacks of the tasks, behind those of the threads: src/cli/stacks.rs picks them from what we print."""
        if self.loop is None or self.is_copy:
            return
        names = {self.lifespan.task: "lifespan"}
        for link in self.streams:
            for exchange in link.exchanges.values():
                names[exchange.task] = "%s (request %s)" % (exchange.what(), exchange.ident)
        try:
            for task in asyncio.all_tasks(self.loop):
                if task.get_coro().__qualname__.startswith("Asgi."):
                    continue
                name = names.get(task) or "%s, %s" % (task.get_name(), task.get_coro().__qualname__)
                lines = ["Task %s (most recent call first):" % name, *awaited(task.get_coro()), ""]
                sys.stderr.write("\n".join(lines))
        except Exception as error:  # an object of the app may be anything
            sys.stderr.write("no stacks of tasks: %r\n" % (error,))

    def forked(self):
        """What the copy does in the loop is at an end where it waits: its requests are its parent's."""
        set_wakeup_fd(-1)
        signal(SIGTERM, SIG_DFL)
        for link in self.streams:
            if link.answers is not None:
                link.answers.close()
        super().forked()
        if self.loop is not None:
            getattr(self.loop, "_ready", deque()).clear()
            self.loop.call_soon(end_copy, None, {})
