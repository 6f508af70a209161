"""Imports one app and serves it to the workers of Hatchery (Python 3.8 or newer, standard library only). What is here is for
WSGI (PEP 3333); what only some need stands in hatchery_interfaces.py and hatchery_asgi.py.

The master starts it with this text on standard input (HOST_ARGUMENTS in src/gateway/app.rs). Its settings are environment
variables, HATCHERY_HOST_ and: LISTEN_FD (listening Unix socket), HEAR_FD and TELL_FD (channels from and to the master),
MODULE, CALLABLE (dots allowed; with `()` at its end a factory), CHDIR, APP (name), TITLE (for `ps`), THREADS,
MULTIPROCESS (0 or 1), MAX_REQUESTS (tells the master after so many), STACKS_SIGNAL (writes the stacks of all threads),
USERS (numbers of the users that workers and the master run as), STRICT (1: what would fail each request fails the boot),
INTERFACE (wsgi or asgi: nothing else will do; else it is found out), and for ASGI in place of THREADS: MAX_CONNECTIONS
(requests at a time), WINDOW (bytes of an answer that may be under way), MAX_MESSAGE (bytes of one of a WebSocket).

The frames are described in src/control/frame.rs. A worker's stream belongs to one unit, that is thread; a unit serves
one request at a time. Of several that lie there it serves one after the other, and sends their answers together while
that makes nobody wait (docs/decisions/0027-look-ahead.md). With one thread everything happens in the main thread. Only
modules written in C are imported: they cost nothing at start, and no monkey patch of the app reaches them.
"""
import faulthandler
import gc
import os
import sys
from _collections import deque
from _signal import SIG_DFL, SIGINT, SIGTERM, default_int_handler, getsignal, set_wakeup_fd, signal
from _socket import CMSG_SPACE, MSG_CTRUNC, MSG_DONTWAIT, MSG_PEEK, SCM_RIGHTS, SOL_SOCKET, socket
from _struct import Struct
from _thread import allocate_lock, start_new_thread
from errno import EPIPE
from io import BufferedRandom, BufferedReader, BytesIO, FileIO
from itertools import count
from os import pipe, read, write
from resource import getrusage
from select import EPOLLIN, EPOLLOUT, POLLHUP, POLLIN, epoll, poll
from time import monotonic

try:
    from _socket import SO_PEERCRED
    from resource import RUSAGE_THREAD
except ImportError:  # PyPy has no names for these numbers of Linux
    SO_PEERCRED, RUSAGE_THREAD = 17, 1

VERSION = 1
HELLO, READY, FAILED, REQUEST, BODY, END, CANCEL, CREDIT, HEAD, FILE, FREE, STACKS, LEAVE, GONE, WORN = range(1, 16)
ADMIT, DISMISS, ASK, LINGERS, TROUBLE = range(20, 25)
NO_BODY, DESCRIPTOR, ABORT, LENGTH = 1, 2, 4, 8  # flags
HEADER = Struct("<IBBHI")
FREED = Struct("<IBBHII")  # FREE with its payload
ENDED = Struct("<IBBHIIBBHII")  # END and FREE
HELLO_PAYLOAD = Struct("<IHH")
ROW_UNIT = Struct("<HH")
COUNT = Struct("<I")
EXTENT = Struct("<QQ")
PEER = Struct("=iII")  # struct ucred: process, user, group (unix(7))
HEADER_SIZE = HEADER.size
FREE_SIZE = COUNT.size  # towards a worker
MOST_DESCRIPTORS = 253  # of one message (SCM_MAX_FD): none is lost for want of room
ANCILLARY = CMSG_SPACE(4 * MOST_DESCRIPTORS)
RECEIVE = 64 * 1024
TOGETHER = 64 * 1024  # up to this size frames are joined for one send
LONGEST = 1 << 30  # of one frame
LONGEST_TIME = 4294  # seconds that FREE can tell in microseconds
MOST_MICROS = (1 << 32) - 1
AT_ONCE = 0.0002  # seconds that an answer is kept, to be sent with others; a page or close() that takes longer is slow
DOUBTFUL = 10_000  # requests after a slow one in which it is looked whose time one takes
WAIT = 0.00002  # seconds that a client may wait for pages of others on average: about what a send costs
MOST_WARY = 10_000  # pages, or close()s
TURN = 0.01  # seconds after which other streams have their turn
NEVER = float("inf")
ACQUAINTANCE = 5  # seconds in which the master may say who somebody is
STRANGERS = 64  # who wait for that at a time
REGULAR = 0o100000  # kind of a file (inode(7))
REPEATABLE = "GET", "HEAD", "OPTIONS"
VIRTUALENVS = ".venv", "venv", "env"  # where they usually are
COROUTINE = 0x180  # flags of code (inspect.CO_COROUTINE, CO_ITERABLE_COROUTINE; CO_VARARGS)
ANY_ARGUMENTS = 0x04
LONGEST_PART = 50_000  # characters of an error
LONGEST_NAMES = 1000  # bytes of the names of threads that are told
MOST_HINTS = 32  # before one response, as of an upstream
SURPLUS = 1  # seconds for which an app may write() what cannot be sent
LAST_MOMENT = 5  # seconds for what runs when the master dies
SELDOM = 20_000  # new objects after which garbage is looked for during the import


def on_interrupt(number, interrupted):
    """Nothing: how we end is the master's to say. What the app starts has the default again, which SIG_IGN would not."""


def frame(kind, flags, stream, payload=b""):
    return HEADER.pack(len(payload), kind, flags, 0, stream) + payload


def is_kind(descriptor, kind):
    return os.fstat(descriptor).st_mode & 0o170000 == kind


def write_all(pipe, data):
    view = memoryview(data)
    while view:
        view = view[write(pipe.fileno(), view) :]


def tell(pipe, kind, payload=b""):
    """To the master; if that has gone, the end of what it says is dealt with in its turn."""
    try:
        write_all(pipe, frame(kind, 0, 0, payload))
    except (OSError, ValueError):
        pass


def close_all(descriptors):
    for descriptor in descriptors:
        try:
            os.close(descriptor)
        except OSError:
            pass


def close(connection, descriptors=()):
    """Closes a stream and what came over it. What lies in it unread is closed with it, and a descriptor can be made so that
    its close sleeps: where anything is left, a thread does it."""
    try:
        unread = connection.recv(1, MSG_DONTWAIT | MSG_PEEK)
    except OSError:
        unread = True
    if not unread and not descriptors:
        return connection.close()
    all_of_it = [connection.detach(), *descriptors]
    try:
        start_new_thread(close_all, (all_of_it,))
    except RuntimeError:  # no thread to be had
        close_all(all_of_it)


def flush():
    for output in (sys.stdout, sys.stderr):
        try:
            output.flush()
        except Exception:
            pass


def fail(host, text):
    """The process cannot serve, and says why."""
    host.tell(FAILED, text.encode("utf-8", "backslashreplace"))
    flush()
    os._exit(3)  # not sys.exit: threads of a half-imported app could hold it up


def trimmed(trace):
    """A traceback without the frames of this program; it can be as deep as calls can be."""
    first = last = None
    while trace is not None:
        if trace.tb_frame.f_globals is not globals():
            if last is None:
                first = trace
            elif last.tb_next is not trace:
                last.tb_next = trace
            last = trace
        trace = trace.tb_next
    if last is not None:
        last.tb_next = None
    return first


def describe(error):
    """The error with its causes and their tracebacks; of a long text the first part and the last."""
    from traceback import format_exception

    seen = set()
    inner = error
    while inner is not None and id(inner) not in seen:
        seen.add(id(inner))
        inner.__traceback__ = trimmed(inner.__traceback__)
        inner = inner.__cause__ or inner.__context__
    text = "".join(format_exception(type(error), error, error.__traceback__))
    return text if len(text) <= 2 * LONGEST_PART else text[:LONGEST_PART] + "\n[…]\n" + text[-LONGEST_PART:]


def report(error, environ, when):
    """Writes a traceback to standard error in one piece."""
    get = environ.get
    what = "%s %s%s" % (get("REQUEST_METHOD"), get("SCRIPT_NAME"), get("PATH_INFO"))
    try:
        text = describe(error)
    except Exception as reason:  # what it needs may be what is out: files, memory
        text = "%s (no traceback: %r)\n" % (type(error).__name__, reason)
    try:
        sys.stderr.write("%s (request %s) failed%s:\n%s" % (what, get("REQUEST_ID"), when, text))
    except Exception:
        pass


def end_copy(error, environ):
    """Ends a process that a view has forked and that comes back from it: the request is its parent's."""
    code = getattr(error, "code", None) if isinstance(error, SystemExit) else error
    if code is not None and not isinstance(code, int):
        report(error, environ, " in a process that it has forked")
        code = 1
    flush()
    os._exit((code or 0) & 255)


def own_time(took, before):
    """How much of `took` an app had by itself: on a busy machine the kernel gives the processor to others meanwhile, which makes
    no page slow. All of it, if it has waited for anything since `before`, which getrusage(2) has said."""
    after = getrusage(RUSAGE_THREAD)
    if after.ru_nvcsw != before.ru_nvcsw:
        return took
    return min(took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def wary(left, took):
    """Of how many of the next pages, or close()s, none has an answer wait for it; it was `left` before one that took so
    long. Where one has taken 10 ms it is 500: one in 500 may hold up an answer for that long, and not the next one."""
    return max(left - 1, 0) if took < AT_ONCE else max(left, min(int(took / WAIT), MOST_WARY))


class Unwanted(BrokenPipeError):
    """What write() raises once nobody waits for more of the response: it ends the loop of an app as a broken pipe does."""


class FileWrapper:
    """wsgi.file_wrapper: any file-like object as an iterable; of a real file the worker gets the descriptor."""

    def __init__(self, filelike, blksize=8192):
        self.filelike = filelike
        self.blksize = blksize
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self):
        return self

    def __next__(self):
        data = self.filelike.read(self.blksize)
        if data:
            return data
        raise StopIteration

    def extent(self):
        """Descriptor, offset and size of what is left, if `read` gives a regular file as it is; else None. Of files that
        the kernel makes up as they are read (/proc, /sys) the size says nothing: they have no blocks."""
        method = getattr(self.filelike, "read", None)
        file = getattr(method, "__self__", None)
        raw = file.raw if type(file) in (BufferedReader, BufferedRandom) else file
        if type(raw) is not FileIO or getattr(method, "__name__", None) != "read":
            return None
        try:
            file.flush()
            descriptor, offset = file.fileno(), file.tell()
            info = os.fstat(descriptor)
        except (OSError, ValueError):
            return None
        size = info.st_size - offset
        if info.st_mode & 0o170000 != REGULAR or size <= 0 or (not info.st_blocks and size <= TOGETHER):
            return None
        return descriptor, offset, size


class Response:
    """The answer to one request."""

    __slots__ = ("stream", "number", "head", "length", "bodiless", "is_head", "sent", "given", "unwanted", "ended", "whole_since", "hints")

    def __init__(self, stream, number, is_head):
        self.stream = stream
        self.number = number
        self.head = None
        self.length = None  # Content-Length as the app gave it
        self.bodiless = False
        self.is_head = is_head
        self.sent = False
        self.given = 0  # bytes of the body
        self.unwanted = False
        self.ended = False
        self.whole_since = None  # write() goes on although nothing more can be sent
        self.hints = 0  # interim responses

    def start_response(self, status, headers, exc_info=None):
        if exc_info:
            try:
                if self.sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.head is not None:
            raise AssertionError("start_response() was called a second time without exc_info")
        if not isinstance(headers, list):
            raise TypeError("the headers must be a list, not %s" % type(headers).__name__)
        digits = isinstance(status, str) and status.partition(" ")[0]
        if not digits or not digits.isdecimal() or len(digits) != 3:
            raise ValueError("the status must be like '200 OK', not %r" % (status,))
        if status[0] in "01":
            raise ValueError("the status of a response is at least 200, not %r" % (status,))
        if status[:3] == "205":  # says so by its length (RFC 9110 section 15.3.6)
            headers = [pair for pair in headers if pair[0].lower() != "content-length"] + [("Content-Length", "0")]
        text = status
        length = pair = None
        try:
            for pair in headers:
                name, value = pair
                text += "\0" + name + "\0" + value
                if len(name) == 14 and name.lower() == "content-length":
                    if not value.strip().isdecimal():
                        raise ValueError
                    length = int(value)
        except (TypeError, ValueError):
            raise TypeError("a header must be two str, and Content-Length a number, not %r" % (pair,)) from None
        text += "\0"
        if text.count("\0") != 2 * len(headers) + 1 or "\r" in text or "\n" in text:
            raise ValueError("a control character in the status or a header: %r" % (text.split("\0")[:-1],))
        self.head = text.encode("latin-1")
        self.length = length
        self.bodiless = status[:3] in ("204", "205", "304")
        return self.write

    def early_hints(self, headers):
        """`wsgi.early_hints`: fields that the client has at once, before the response (103, RFC 8297)."""
        if self.sent or self.ended:
            raise RuntimeError("early hints after the head of the response")
        if not isinstance(headers, list):
            raise TypeError("early hints must be a list of pairs, not %s" % type(headers).__name__)
        if self.hints >= MOST_HINTS:
            raise RuntimeError("more than %d early hints before one response" % MOST_HINTS)
        self.hints += 1
        text = "103\0"
        for pair in headers:
            try:
                name, value = pair
                text += name + "\0" + value + "\0"
            except (TypeError, ValueError):
                raise TypeError("an early hint must be two str, not %r" % (pair,)) from None
        if text.count("\0") != 2 * len(headers) + 1 or "\r" in text or "\n" in text:
            raise ValueError("a control character in an early hint: %r" % (headers,))
        if headers and not self.is_unwanted():
            self.stream.keep(frame(HEAD, 0, self.number, text.encode("latin-1")))
            self.stream.flush()

    def head_frame(self, length=None):
        """The head, to be sent next; with the length of the body if that is known and the app gave none."""
        head = self.head
        if head is None:
            raise AssertionError("the app did not call start_response()")
        self.sent = True
        if self.length is None and length is not None and not self.bodiless and (length or not self.is_head):
            head += b"Content-Length\0%d\0" % length
            self.length = length
        return frame(HEAD, 0 if self.length is None else LENGTH, self.number, head)

    def is_unwanted(self):
        """Whether nobody waits for it any more."""
        self.unwanted = self.unwanted or self.stream.is_cancelled()
        return self.unwanted

    def write(self, data):
        """What start_response() returns."""
        if self.ended:
            raise RuntimeError("write() after the end of the response")
        if self.is_unwanted():
            raise Unwanted(EPIPE, "the client has left")
        if self.sent and (self.is_head or self.bodiless or (self.length is not None and self.given >= self.length)):
            self.whole_since = self.whole_since or monotonic()
            if monotonic() - self.whole_since > SURPLUS:
                raise Unwanted(EPIPE, "the response is complete")
        self.part(data)

    def part(self, data, length=None):
        """Sends a part of the body at once."""
        if not isinstance(data, bytes):
            raise TypeError("the body must be bytes, not %s" % type(data).__name__)
        if not data:
            return
        if not self.sent:
            self.stream.keep(self.head_frame(length))
        self.send_body(data)

    def send_body(self, data):
        stream, number = self.stream, self.number
        self.given += len(data)
        if self.bodiless or self.is_head:
            stream.flush()
        elif len(data) <= TOGETHER:
            stream.out += HEADER.pack(len(data), BODY, 0, 0, number), data
            stream.flush()
        else:
            view = memoryview(data)
            for start in range(0, len(view), LONGEST):
                part = view[start : start + LONGEST]
                stream.out.append(HEADER.pack(len(part), BODY, 0, 0, number))
                stream.flush(part)

    def body(self, result):
        """Sends the body; what is there as a whole is kept, to go with what ends the response. It asks for no more once
        nobody waits or nothing can follow the head. Of a body that is as long as announced it sees the next chunk, or
        the end: code of a generator behind its last chunk runs."""
        kind = type(result)
        if kind is list or kind is tuple:
            return self.whole(result)
        if kind is FileWrapper:
            extent = result.extent()
            if extent is not None:
                return self.file(*extent)
        elif getattr(result, "streaming", None) is False:  # Django: everything is there already
            return self.whole(list(result))
        elif result is None or (result and kind in (bytes, str)):
            raise TypeError("the app must return an iterable of bytes, as [b'text'], not %s" % kind.__name__)
        length = None
        single = hasattr(kind, "__len__") and len(result) == 1
        for chunk in result:
            if single:
                length = len(chunk)
            surplus = self.length is not None and self.sent and self.given >= self.length
            self.part(chunk, length)
            headed = self.sent and (self.is_head or self.bodiless)
            if headed or surplus or self.is_unwanted():
                break
        if not (self.sent or self.unwanted):
            self.stream.keep(self.head_frame(0))

    def whole(self, chunks):
        if len(chunks) == 1:
            data = chunks[0]
            if not isinstance(data, bytes):
                raise TypeError("the body must be bytes, not %s" % type(data).__name__)
            total = len(data)
        else:
            total = sum(map(len, chunks))
            if total > TOGETHER:
                for chunk in chunks:
                    self.part(chunk, total)
                return
            data = b"".join(chunks)
        stream = self.stream
        if not self.sent:
            head = self.head_frame(total)
            stream.out.append(head)
            stream.size += len(head)
        if not data or self.bodiless or self.is_head:
            return
        if total > TOGETHER:
            return self.send_body(data)
        stream.out += HEADER.pack(total, BODY, 0, 0, self.number), data
        stream.size += total

    def file(self, descriptor, offset, size):
        if self.length is not None and self.length < size:
            size = self.length
        if not self.sent:
            self.stream.keep(self.head_frame(size))
        if size and not (self.bodiless or self.is_head):
            self.stream.send_file(frame(FILE, 0, self.number, EXTENT.pack(offset, size)), descriptor)


class Stream:
    """The connection of one worker to one unit."""

    __slots__ = (
        *("host", "socket", "answers", "poll", "ready", "row", "unit", "dead"),
        *("data", "frames", "descriptors", "bodies", "number", "unwanted", "cancelled", "yielded"),
        *("out", "size", "now", "due", "usage"),
    )

    def __init__(self, host, connection, poll, ready):
        self.host = host
        self.socket = connection
        self.answers = None  # a pipe to answer by in place of the socket: the master reads nothing else
        self.row = self.unit = None
        self.dead = False  # the worker has gone, or is none
        self.data = b""  # a part of a frame
        self.frames = deque()  # what has come whole and was not taken
        self.descriptors = []
        self.bodies = 0  # how many of these frames have one
        self.number = None  # of the request that was taken last
        self.unwanted = False  # CANCEL has come for it
        self.cancelled = set()  # numbers of requests that still lie there
        self.yielded = False
        self.out = []  # what is kept, to be sent together
        self.size = 0
        self.now = 0  # when the last request was over
        self.due = NEVER  # when what is kept must be sent
        self.usage = None  # what this thread had used before the requests that are kept, where that is looked at
        self.watch(poll, ready, self.on_hello)

    def watch(self, poll, ready, action):
        self.poll = poll
        self.ready = ready
        descriptor = self.socket.fileno()
        ready[descriptor] = action
        poll.register(descriptor, EPOLLIN)

    def unwatch(self):
        descriptor = self.socket.fileno()
        self.poll.unregister(descriptor)
        del self.ready[descriptor]

    def on_hello(self):
        """Reads no more than HELLO, so that what follows is seen by the unit's own poll."""
        wanted = HEADER_SIZE + HELLO_PAYLOAD.size
        try:
            data, ancillary, state, _ = self.socket.recvmsg(wanted - len(self.data), ANCILLARY, MSG_DONTWAIT)
            self.take_in(ancillary, state)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.data += data
        if not data or len(self.descriptors) > 1 or -1 in self.descriptors:
            return self.end()
        if len(self.data) < wanted:
            return
        length, kind, _, _, _ = HEADER.unpack_from(self.data)
        version, row, unit = HELLO_PAYLOAD.unpack_from(self.data, HEADER_SIZE)
        self.data = b""
        if kind != HELLO or length != HELLO_PAYLOAD.size or version != VERSION or unit >= len(self.host.units):
            return self.end()
        if self.descriptors:
            if not self.host.is_master(self.socket):
                return self.end()
            self.answers = FileIO(self.descriptors.pop(), "wb")
        self.row = row
        self.unit = unit
        self.unwatch()
        poll, ready = self.host.units[unit]
        self.watch(poll, ready, self.on_request)

    def end(self):
        """The worker has gone: the master learns that no request of it runs on this unit."""
        self.unwatch()
        close(self.socket, self.descriptors)
        self.frames.clear()
        if self.answers is not None:
            self.answers.close()
        self.host.streams.discard(self)
        if self.row is not None:
            self.host.tell(FREE, ROW_UNIT.pack(self.row, self.unit))

    def take_in(self, ancillary, state):
        """Descriptors that have come, to those that no request has taken."""
        for level, what, payload in ancillary:
            if level == SOL_SOCKET and what == SCM_RIGHTS:
                for at in range(0, len(payload) // 4 * 4, 4):
                    self.descriptors.append(int.from_bytes(payload[at : at + 4], sys.byteorder))
        if state & MSG_CTRUNC:
            sys.stderr.write("a request body did not arrive: too many open files in the app\n")
            self.descriptors.append(-1)  # in its place

    def fill(self, how=0):
        """Reads once, and cuts what has come into frames."""
        try:
            data, ancillary, state, _ = self.socket.recvmsg(RECEIVE, ANCILLARY, how)
        except BlockingIOError:
            return
        except OSError:
            self.dead = True
            return
        if ancillary or state & MSG_CTRUNC:
            self.take_in(ancillary, state)
        if not data:
            self.dead = True
            return
        if self.data:
            data = self.data + data
        at = 0
        whole = len(data) - HEADER_SIZE
        while at <= whole:
            length, kind, flags, _, number = HEADER.unpack_from(data, at)
            if length > whole - at:
                break
            start = at + HEADER_SIZE
            at = start + length
            if kind == CANCEL:
                self.on_cancel(number)
            else:
                self.frames.append((kind, flags, number, data[start:at]))
                if kind == REQUEST and flags & DESCRIPTOR:
                    self.bodies += 1
        self.data = data[at:]
        if self.descriptors or self.bodies:
            # Each comes with the first byte of its request: of one that is there in part it can be there, of others not.
            surplus = len(self.descriptors) - self.bodies
            if surplus and (surplus != 1 or not self.data):
                self.dead = True

    def on_cancel(self, number):
        """Nobody waits for that answer any more, be it begun or not. That of a request that is over, or has not come,
        means nothing."""
        if number == self.number:
            self.unwanted = True
        elif any(kind == REQUEST and number == there for kind, _, there, _ in self.frames):
            self.cancelled.add(number)

    def receive(self):
        """The next frame as type, flags, stream, payload, waiting for it; None if the worker has gone."""
        while not self.frames:
            self.flush()
            self.fill()
            if self.dead:
                return None
        return self.frames.popleft()

    def is_cancelled(self):
        """Whether nobody waits for the answer to the request that runs: the worker has said so, or has gone. A request
        that is sent before its time stays where it is."""
        if not self.dead and self.answers is None:
            self.fill(MSG_DONTWAIT)
        return self.dead or self.unwanted

    def keep(self, data):
        self.out.append(data)
        self.size += len(data)

    def flush(self, part=None):
        """Sends what was kept, and at once a large part behind it. Waits while the worker has no room. A worker that has
        gone must not disturb the app."""
        out = self.out
        self.size = 0
        self.due = NEVER
        if not out:
            return
        data = b"".join(out)
        out.clear()
        if self.dead:
            return
        try:
            if self.answers is not None:
                write_all(self.answers, data)
                if part is not None:
                    write_all(self.answers, part)
            elif part is None:
                self.socket.sendall(data)
            else:
                sent = self.socket.sendmsg((data, part))
                for rest in (data[sent:], part[max(sent - len(data), 0) :]):  # a signal has come
                    if rest:
                        self.socket.sendall(rest)
        except OSError:
            self.dead = True

    def send_file(self, data, descriptor):
        """A frame with its descriptor, which comes with its first byte: what was kept goes before."""
        self.flush()
        if self.answers is not None:  # whoever asked so does not look at the content
            self.keep(data)
            self.flush()
        elif not self.dead:
            rights = (SOL_SOCKET, SCM_RIGHTS, descriptor.to_bytes(4, sys.byteorder))
            try:
                sent = self.socket.sendmsg([data], [rights])
                if sent < len(data):
                    self.socket.sendall(data[sent:])
            except OSError:
                self.dead = True

    def on_request(self):
        """Serves the requests that have come and those that come meanwhile, one after the other; until the last is over
        the unit counts as running, and the master can ask whether it does."""
        host, frames = self.host, self.frames
        host.running[self.unit] = self.row
        if self.yielded:
            self.yielded = False
            self.poll.modify(self.socket.fileno(), EPOLLIN)
            self.fill(MSG_DONTWAIT)
        else:
            self.fill()
        until = None
        self.usage = getrusage(RUSAGE_THREAD) if host.doubts else None
        while frames and not self.dead:
            if self.now >= self.due:  # those that lie there have waited, and somebody may have left
                self.flush()
                self.usage = getrusage(RUSAGE_THREAD) if host.doubts else None
                if self.answers is None and not self.dead:
                    self.fill(MSG_DONTWAIT)
                if self.dead:
                    break
                if until is None:
                    until = self.now + TURN
                elif self.now >= until:
                    return self.give_way()
            elif host.pages:
                self.flush()
            kind, flags, number, payload = frames.popleft()
            if kind != REQUEST or not self.respond(flags, number, payload):
                self.flush()
                self.dead = True
            elif host.leaving:  # what has not begun is for another process
                break
        self.flush()
        host.running[self.unit] = None
        if host.asked and (self.row, self.unit) in host.asked:
            host.asked.discard((self.row, self.unit))
            host.tell(FREE, ROW_UNIT.pack(self.row, self.unit))
        if self.dead:
            self.end()

    def give_way(self):
        """Lets the master and the other streams of this unit have their turn: whoever is registered anew comes last, and as
        a rule there is room to write."""
        self.yielded = True
        descriptor = self.socket.fileno()
        self.poll.unregister(descriptor)
        self.poll.register(descriptor, EPOLLIN | EPOLLOUT)

    def read_body(self, flags):
        """wsgi.input; None if the worker has gone. Bodies are complete and exactly CONTENT_LENGTH bytes long."""
        if flags & DESCRIPTOR:
            if self.descriptors[0] < 0 or not is_kind(self.descriptors[0], REGULAR):
                return None
            self.bodies -= 1
            file = open(self.descriptors.pop(0), "rb")
            file.seek(0)
            return file
        if flags & NO_BODY:
            return BytesIO()
        parts = []
        while True:
            received = self.receive()
            if received is None or received[0] not in (BODY, END):
                return None
            if received[0] == END:
                return BytesIO(b"".join(parts))
            parts.append(received[3])

    def respond(self, flags, number, payload):
        """One request, up to its FREE; false if what came is none."""
        self.number = number
        self.unwanted = False
        if self.cancelled and number in self.cancelled:
            self.cancelled.discard(number)
            self.unwanted = True
        body = BytesIO() if flags == NO_BODY else self.read_body(flags)
        if body is None:
            return False
        if self.unwanted:
            body.close()
            self.out.append(ENDED.pack(0, END, ABORT, 0, number, FREE_SIZE, FREE, 0, 0, number, 0))
            due = self.now + AT_ONCE
        else:
            due = self.answer(number, payload, body)
        if self.size >= TOGETHER:
            self.flush()
        if due < self.due:
            self.due = due
        return True

    def answer(self, number, payload, body):
        """Calls the app; returns when the answer must be sent."""
        host = self.host
        pairs = iter(str(payload, "latin-1").split("\0"))
        environ = dict(zip(pairs, pairs))
        environ.update(host.environ)
        environ["wsgi.url_scheme"] = environ.get("REQUEST_SCHEME", "http")
        environ["wsgi.input"] = body
        environ["wsgi.errors"] = sys.stderr
        method = environ.get("REQUEST_METHOD")
        response = Response(self, number, method == "HEAD")
        environ["wsgi.early_hints"] = response.early_hints
        result = close = None
        abort = 0
        began = monotonic()
        try:
            try:
                result = host.app(environ, response.start_response)
                response.body(result)
            finally:
                close = getattr(result, "close", None)
        except Unwanted:
            pass
        except BaseException as error:  # also SystemExit: a view does not end the server
            if host.is_copy:
                end_copy(error, environ)
            abort = ABORT  # before the head: the worker has a page for it
            report(error, environ, " in the middle of its response" if response.sent else "")
        response.ended = True
        if host.is_copy:
            end_copy(None, environ)
        if response.unwanted:
            abort = ABORT
        now = monotonic()
        early = False
        if close is not None:
            if host.closes > 0:  # it may take its time
                early = True
                self.keep(HEADER.pack(0, END, abort, 0, number))
                self.flush()
            try:
                close()
            except BaseException as error:
                if host.is_copy:
                    end_copy(error, environ)
                report(error, environ, " in close()")
            if host.is_copy:
                end_copy(None, environ)
            ended, now = now, monotonic()
            if early or now - ended >= AT_ONCE:
                host.closes = wary(host.closes, now - ended)
        body.close()
        if next(host.served) == host.enough:
            host.tell(WORN, COUNT.pack(host.enough))
        self.now = now
        took = now - began
        if took >= AT_ONCE:
            if self.usage is not None:
                took = own_time(took, self.usage)
            host.doubts = DOUBTFUL
        elif host.doubts:
            host.doubts -= 1
        micros = int(took * 1_000_000) if took < LONGEST_TIME else MOST_MICROS
        if early:
            self.out.append(FREED.pack(FREE_SIZE, FREE, 0, 0, number, micros))
        else:
            self.out.append(ENDED.pack(0, END, abort, 0, number, FREE_SIZE, FREE, 0, 0, number, micros))
        slow = took >= AT_ONCE
        if slow or host.pages:
            host.pages = wary(host.pages, took)
        # A process that dies loses what it has kept: an answer that cannot be had again is not.
        return now if slow or method not in REPEATABLE else now + AT_ONCE


class Host:
    """The process: its sockets, its units and how it ends."""

    def __init__(self, settings):
        Host.running = self  # also while the interpreter ends: the master takes the end of our pipes for our own
        self.listener = socket(fileno=int(settings["LISTEN_FD"]))
        self.hears = FileIO(int(settings["HEAR_FD"]), "rb")
        self.tells = FileIO(int(settings["TELL_FD"]), "wb")
        for inherited in (self.listener, self.hears, self.tells):
            os.set_inheritable(inherited.fileno(), False)
        self.listener.setblocking(False)
        self.from_master = b""
        self.inbox = poll()
        self.inbox.register(self.hears.fileno(), POLLIN)
        self.master = os.getppid()
        self.workers = set()  # their process ids, as the master says
        self.users = {int(user) for user in settings.get("USERS", "").split(",") if user}
        self.strangers = []  # connections from whom we were not told of (yet)
        self.refused = 0
        self.told = 0  # when of strangers, and whether of the invisible
        self.invisible = False
        self.threads = max(int(settings.get("THREADS") or 1), 1)
        self.app = None
        self.interface = None
        self.served = count(1)
        self.enough = int(settings.get("MAX_REQUESTS") or 0)
        self.leaving = False
        self.orphaned = False
        self.streams = set()
        self.running = [None] * self.threads  # by unit: the row of the worker whose request runs
        self.asked = set()  # row and unit: the master wants FREE once no such request runs
        self.pages = 0  # before how many answers are not kept, since they were slow of late
        self.closes = 1  # the same of close(), of which nothing is known yet
        self.doubts = 0  # for how many requests it is looked whose time they take
        self.pipes = ()
        self.is_copy = False  # the app has forked it
        self.poll = epoll()
        self.ready = {}
        self.units = [(self.poll, self.ready)]
        if self.threads > 1:
            self.units = [(epoll(), {}) for _ in range(self.threads)]
        self.environ = {
            "wsgi.version": (1, 0),
            "wsgi.multithread": self.threads > 1,
            "wsgi.multiprocess": settings.get("MULTIPROCESS") != "0",
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "wsgi.file_wrapper": FileWrapper,
        }

        os.register_at_fork(after_in_child=lambda: self.forked())

    def forked(self):
        """A child that the app forks must not keep the master from seeing our end, nor take our signals."""
        self.is_copy = True
        if self.pipes:
            set_wakeup_fd(-1)
            signal(SIGTERM, SIG_DFL)
        if getsignal(SIGINT) is on_interrupt:
            signal(SIGINT, default_int_handler)
        streams, pipes = self.streams, self.pipes
        self.streams, self.pipes = set(), ()  # what that forks has other files under these numbers
        for stream in streams:
            stream.socket.close()
        strangers, self.strangers = self.strangers, []
        for connection, *_ in strangers:
            connection.close()
        for ours in (self.listener, self.hears, self.tells, self.poll, *(poll for poll, _ in self.units)):
            ours.close()
        for pipe in pipes:
            os.close(pipe)

    def tell(self, kind, payload=b""):
        tell(self.tells, kind, payload)

    def serve(self):
        """Until the process must leave."""
        wake, woken = pipe()
        stay, leave = pipe()
        self.pipes = (wake, woken, stay, leave)
        os.set_blocking(wake, False)
        os.set_blocking(woken, False)

        def on_wake():
            try:
                read(wake, 4096)
            except OSError:
                pass

        master = os.getppid()

        def on_term(number, interrupted):
            self.leaving = True
            if os.getppid() != master:  # it is dead: what runs has a moment, since nobody is left to end us
                self.orphaned = True
                faulthandler.dump_traceback_later(LAST_MOMENT, exit=True, file=2)
            try:
                write(woken, b"\0")  # in case the app took the wake-up descriptor
            except OSError:
                pass

        signal(SIGTERM, on_term)
        set_wakeup_fd(woken, warn_on_full_buffer=False)
        for descriptor, action in (
            (self.listener.fileno(), self.on_connect),
            (self.hears.fileno(), self.on_master),
            (wake, on_wake),
        ):
            self.ready[descriptor] = action
            self.poll.register(descriptor, EPOLLIN)
        over = []
        try:
            if self.threads > 1:
                for number, (poll, ready) in enumerate(self.units):
                    ready[stay] = lambda: None  # readable once all must leave
                    poll.register(stay, EPOLLIN)
                    over.append(self.start_unit(number))
        except RuntimeError as error:
            text = "cannot start %d threads: %s; raise limits.processes of the app, or lower threads"
            fail(self, text % (self.threads, error))
        self.tell(READY)
        self.loop(self.poll, self.ready)
        write(leave, b"\0")
        for lock in over:
            if not self.orphaned:  # else nobody waits for what still runs
                lock.acquire()
        for stream in list(self.streams):  # what lies there is for other processes, before what the app does at its end
            close(stream.socket, stream.descriptors)
        self.tell_lingering()

    def tell_lingering(self):
        """The threads of the app that the end of the process waits for: the master names them if it has to kill it."""
        threading = sys.modules.get("threading")
        try:
            main = threading.main_thread()
            names = [thread.name for thread in threading.enumerate() if thread is not main and not thread.daemon]
            if names:
                self.tell(LINGERS, "\0".join(names).encode("utf-8", "backslashreplace")[:LONGEST_NAMES])
        except Exception:  # none, or of another kind
            pass

    def start_unit(self, number):
        """A thread that serves a unit; a lock that is free once it has ended. The app may have replaced what
        threading stands on (gevent, eventlet): then it is a bare thread, or it would be none and never run."""
        over = allocate_lock()
        over.acquire()
        poll, ready = self.units[number]
        name = "unit-%d" % number

        def run():
            try:
                current_thread().name = name
                self.loop(poll, ready)
            except BaseException:  # as of the main thread: nobody would serve the unit
                from traceback import print_exc

                print_exc()
                flush()
                os._exit(1)
            over.release()

        import _thread
        from threading import Thread, current_thread

        if _thread.start_new_thread is start_new_thread:
            Thread(target=run, name=name, daemon=True).start()
        else:
            start_new_thread(run, ())
        return over

    def loop(self, poll, ready):
        """One event at a time: what is closed by an action cannot be in the same batch."""
        while not self.leaving:
            main = poll is self.poll
            for descriptor, _ in poll.poll(ACQUAINTANCE if main and self.strangers else -1, 1):
                ready[descriptor]()
            if main and self.strangers:
                self.admit()

    def on_connect(self):
        while True:
            try:
                descriptor, _ = self.listener._accept()
            except OSError:
                break
            connection = socket(fileno=descriptor)
            connection.settimeout(None)  # whatever default the app has set
            process, user, _ = PEER.unpack(connection.getsockopt(SOL_SOCKET, SO_PEERCRED, PEER.size))
            self.strangers.append((connection, process, user, monotonic() + ACQUAINTANCE))
        while not self.orphaned and self.inbox.poll(0):  # what the master has said before they came
            self.on_master()
        self.admit()

    def stream(self, connection):
        return Stream(self, connection, self.poll, self.ready)

    def admit(self):
        """Any process of our user can connect, and whoever speaks as a worker can be anyone (REMOTE_USER)."""
        now = monotonic()
        waiting, self.strangers = self.strangers, []
        for number, stranger in enumerate(waiting, 1):
            connection, process, user, until = stranger
            if process in self.workers or process == self.master or (not process and self.is_ours(user)):
                self.streams.add(self.stream(connection))
            elif now < until and len(waiting) - number < STRANGERS:
                self.strangers.append(stranger)
            else:
                close(connection)
                self.refused += 1
                if self.told <= now:
                    self.told = now + 60
                    sys.stderr.write(
                        "refused: process %d of user %d has connected, which is no worker (%d so far)\n"
                        % (process, user, self.refused)
                    )

    def is_master(self, connection):
        """Only the master has its answer somewhere else, so that it need not read what we might pass it."""
        process, user, _ = PEER.unpack(connection.getsockopt(SOL_SOCKET, SO_PEERCRED, PEER.size))
        return process == self.master or (not process and self.is_ours(user))

    def is_ours(self, user):
        """Whether a process that we cannot see, as we are in a PID namespace of our own, may be a worker."""
        if user in self.users and not self.invisible:
            self.invisible = True
            sys.stderr.write("workers are not visible from here (PID namespace): only their user is checked\n")
        return user in self.users

    def on_master(self):
        try:
            data = read(self.hears.fileno(), 4096)
        except BlockingIOError:  # it was read meanwhile, by whoever looks what the master has said
            return
        except OSError:
            data = b""
        if not data:  # the master is dead
            self.leaving = self.orphaned = True
        self.from_master += data
        while len(self.from_master) >= HEADER_SIZE:
            length, kind, _, _, _ = HEADER.unpack_from(self.from_master)
            payload = self.from_master[HEADER_SIZE : HEADER_SIZE + length]
            if len(payload) < length:
                return
            self.from_master = self.from_master[HEADER_SIZE + length :]
            if kind == LEAVE:
                self.leaving = True
            elif kind == GONE and length == 2:
                self.on_gone(int.from_bytes(payload, "little"))
            elif kind == ADMIT and length == 4:
                self.workers.add(int.from_bytes(payload, "little"))
            elif kind == DISMISS and length == 4:
                self.workers.discard(int.from_bytes(payload, "little"))
            elif kind == ASK and length == ROW_UNIT.size:
                self.on_ask(*ROW_UNIT.unpack(payload))

    def on_ask(self, row, unit):
        """First asked, then looked, as the unit first ends and then looks: one of the two tells the master."""
        self.asked.add((row, unit))
        if unit >= len(self.running) or self.running[unit] != row:
            self.asked.discard((row, unit))
            self.tell(FREE, ROW_UNIT.pack(row, unit))

    def on_gone(self, row):
        """Tells the master which units run no request of a dead worker. For those that may, the end of the stream
        does; a stream that is not hung up belongs to a new worker in that row."""
        self.on_connect()
        for stream in list(self.streams):
            if stream.row is None:
                stream.on_hello()
        hangup = poll()
        ours = {stream.socket.fileno(): stream.unit for stream in list(self.streams) if stream.row == row}
        for descriptor in ours:
            if descriptor >= 0:
                hangup.register(descriptor, 0)
        running = {ours[descriptor] for descriptor, event in hangup.poll(0) if event & POLLHUP}
        for unit in range(len(self.units)):
            if unit not in running:
                self.tell(FREE, ROW_UNIT.pack(row, unit))


def show_title(text):
    """What `ps` shows: over the arguments, among which the master left room (proc(5): arg_start, arg_end)."""
    try:
        with open("/proc/self/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
        start, end = int(fields[45]), int(fields[46])
        room = end - start
        with open("/proc/self/mem", "r+b", 0) as memory:
            memory.seek(start)
            memory.write(text.encode("utf-8", "replace")[: room - 1].ljust(room, b"\0"))
    except (OSError, ValueError, IndexError):
        pass  # only a convenience


def interpreter():
    """Which Python does not find a module, and which one probably would: the first mistake of most is to name none."""
    text = "the interpreter is %s" % sys.executable
    for name in VIRTUALENVS:
        home = os.path.join(os.getcwd(), name)
        there = os.path.isfile(os.path.join(home, "pyvenv.cfg")) and os.path.isfile(os.path.join(home, "bin/python"))
        if there and os.path.realpath(home) != os.path.realpath(sys.prefix):
            return "%s; there is a virtualenv in %s: name it by `home` of the app, or --home" % (text, home)
    return text


def is_plainly_wsgi(target):
    """Whether it is called with two arguments and runs at once, as most WSGI apps are: nobody needs to look closer."""
    plain = type(target).__name__ in ("function", "method")  # of another object any attribute can be there, or raise
    code = getattr(target if plain else getattr(type(target), "__call__", None), "__code__", None)
    if code is None or code.co_flags & (COROUTINE | ANY_ARGUMENTS):
        return False
    names = [name for name in code.co_varnames[: code.co_argcount] if name != "self"]
    return len(names) == 2 and names != ["receive", "send"]


def file_of(module):
    """The path that stands in the place of a module's name, if one does: `deploy/app.wsgi`, or `trac.wsgi` if such a file is
    there and no module of that name."""
    if "/" in module:
        return module
    is_script = module.endswith(".wsgi") and os.path.isfile(module)
    return module if is_script and not os.path.exists(module.replace(".", "/") + ".py") else None


def run_file(path):
    """Runs a file as a module, and returns the name that it has: of its own, since trac.wsgi imports a package trac."""
    with open(path, "rb") as file:
        source = file.read()
    name = "_file_" + "".join(char if char.isalnum() else "_" for char in os.path.basename(path))
    module = sys.modules[name] = type(sys)(name)
    module.__file__ = os.path.abspath(path)
    exec(compile(source, module.__file__, "exec", dont_inherit=True), vars(module))
    return name


def load(module, name):
    """The app; what goes wrong is an exception, possibly with a hint for the operator as its last argument."""
    path = file_of(module)
    known = module
    try:
        if path is None:
            __import__(module)
        else:
            known = run_file(path)
    except ModuleNotFoundError as error:
        if path is None and error.name and (module + ".").startswith(error.name + "."):
            raise ImportError(
                "cannot import %r: %s\nlooked in %s and the packages of %s (%s)"
                % (module, error.msg, sys.path[0], sys.prefix, interpreter())
            ) from None
        error.msg = "%s (%s)" % (error.msg, interpreter())
        raise
    target = sys.modules[known]
    factory = name.endswith("()")
    for part in (name[:-2] if factory else name).split("."):
        if not hasattr(target, part):
            there = [other for other, value in vars(sys.modules[known]).items() if callable(value)]
            there = [other for other in there if not other.startswith("_")][:10]
            hint = "; callables in it: %s" % ", ".join(there) if there else ""
            raise AttributeError("module %r has no %r%s" % (module, name, hint))
        target = getattr(target, part)
    if factory:
        target = target()
    if not callable(target):
        hint = ""
        if hasattr(target, "cr_code"):
            target.close()
            hint = "; a factory of apps must not be a coroutine function"
        raise TypeError("%r in module %r is not callable but %r%s" % (name, module, target, hint))
    return target


def settle(target, module, name, wanted):
    """The interface that the app speaks, wsgi or asgi; another one than is wanted, if any is, is an error."""
    if wanted != "asgi" and is_plainly_wsgi(target):
        return "wsgi"
    learn(INTERFACES, "<interfaces>")
    return found_out(target, module, name, wanted)


def learn(text, name):
    """Some need more than what is here: nobody else waits until that is compiled."""
    exec(compile(text, name, "exec"), globals())


def collect_seldom():
    """Until what it returns is called, garbage is looked for seldom: nearly all that an import makes stays, and to go through it
    again and again takes a tenth of the time of a large one. What the app itself says of the collector holds."""
    if not hasattr(gc, "set_threshold"):  # PyPy
        return lambda: None
    usual = gc.get_threshold()
    seldom = (SELDOM if 0 < usual[0] < SELDOM else usual[0],) + usual[1:]
    gc.set_threshold(*seldom)

    def as_usual():
        if gc.get_threshold() == seldom:
            gc.set_threshold(*usual)

    return as_usual


class Django:
    """What Django leaves to the first request of each process, and that belongs to none: imports and tables. Nothing here
    runs a view or a middleware, and no connection to a database stays open for all processes."""

    @staticmethod
    def is_there():
        """Whether the app is one of Django's, perhaps behind others (WhiteNoise, Sentry): it was set up, and has URLs."""
        if not {"django.core.handlers.wsgi", "django.core.handlers.asgi"} & set(sys.modules):
            return False
        from django.apps import apps
        from django.conf import settings

        return settings.configured and apps.ready and bool(getattr(settings, "ROOT_URLCONF", None))

    @staticmethod
    def urls():
        """Imports all of the URL configuration, and with it the views."""
        from django.urls import get_resolver

        resolvers = [get_resolver()]
        while resolvers:
            resolvers += [one for one in resolvers.pop().url_patterns if hasattr(one, "url_patterns")]

    @staticmethod
    def names():
        from django.urls import NoReverseMatch, get_resolver, reverse

        resolver = get_resolver()
        resolver.reverse_dict
        for namespace in resolver.namespace_dict:
            try:
                reverse(namespace + ":-")  # searches all of it
            except NoReverseMatch:
                pass

    @staticmethod
    def templates():
        from django.template import engines

        for engine in engines.all():
            if hasattr(engine, "engine"):  # Django's own language, which imports these at the first template
                engine.engine.template_loaders
                engine.engine.template_context_processors

    @staticmethod
    def formats():
        from django.utils.formats import get_format

        get_format("DECIMAL_SEPARATOR")

    @staticmethod
    def contributed():
        from importlib import import_module

        from django.apps import apps
        from django.conf import settings

        wanted = (
            ("django.contrib.messages", settings.MESSAGE_STORAGE.rpartition(".")[0]),
            ("django.contrib.sessions", "django.contrib.sessions.serializers"),
            ("django.contrib.staticfiles", "django.contrib.staticfiles.storage"),
        )
        for name, module in wanted:
            if apps.is_installed(name):
                import_module(module)

    @staticmethod
    def databases():
        from django.db import connections

        try:
            for name in connections:
                connections[name].ops.compiler("SQLCompiler")
        finally:
            connections.close_all()

    @classmethod
    def prepare(cls, host, strict):
        """Errors of the URL configuration, and so of the views, would make every page a 500: where other processes go on
        (a reload, a replacement: `strict`) this one fails; at a start they are told, and it serves, since a database
        that boots late must not keep a machine down."""
        try:
            cls.urls()
        except BaseException as error:
            text = "its URL configuration cannot be loaded, so that no page will be answered\n" + describe(error)
            if strict:
                fail(host, text)
            host.tell(TROUBLE, text.encode("utf-8", "backslashreplace"))
        for step in cls.names, cls.templates, cls.formats, cls.contributed, cls.databases:
            try:
                step()
            except (Exception, SystemExit) as error:  # the first request has it again, and answers as the app would
                text = "hatchery: not prepared for the first request: " + describe(error)
                print(text, file=sys.stderr)


def main(kind=Host):
    if sys.version_info < (3, 7):  # 3.7 is not tried any more, but nothing keeps it from running
        sys.exit("Python 3.8 or newer is needed; %s is %d.%d" % ((sys.executable,) + tuple(sys.version_info[:2])))
    prefix = "HATCHERY_HOST_"
    names = [name for name in os.environ if name.startswith(prefix)]
    settings = {name[len(prefix) :]: os.environ.pop(name) for name in names}
    signal(SIGINT, on_interrupt)
    # Children that multiprocessing starts import the file of the main module first, which is nowhere to be read.
    globals().pop("__file__", None)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    for output in (sys.stdout, sys.stderr):
        if output is not None:
            output.reconfigure(line_buffering=True, errors="backslashreplace")
    faulthandler.enable()
    if settings.get("STACKS_SIGNAL"):
        faulthandler.register(int(settings["STACKS_SIGNAL"]), all_threads=True, chain=False)
    try:
        with open("/proc/self/comm", "w") as comm:
            comm.write(("app " + settings.get("APP", ""))[:15])
    except OSError:
        pass
    if settings.get("TITLE"):
        show_title(settings["TITLE"])
    host = kind(settings)
    version = "%d.%d.%d" % sys.version_info[:3]
    hello = '{"version": %d, "python": "%s", "pid": %d}' % (VERSION, version, os.getpid())
    host.tell(HELLO, hello.encode())
    module, name = settings["MODULE"], settings.get("CALLABLE") or "application"
    sys.argv = ["hatchery", "%s:%s" % (module, name)]
    as_usual = collect_seldom()
    try:
        if settings.get("CHDIR"):
            os.chdir(settings["CHDIR"])
        here = os.getcwd()
        if sys.path and sys.path[0] == "":
            sys.path[0] = here
        elif here not in sys.path[:1]:
            sys.path.insert(0, here)
        host.app = load(module, name)
        host.interface = settle(host.app, module, name, settings.get("INTERFACE", ""))
        is_django = Django.is_there()
    except BaseException as error:
        fail(host, describe(error))
    if is_django:
        Django.prepare(host, settings.get("STRICT") == "1")
    as_usual()
    if host.interface == "asgi":
        learn(ASGI, "<asgi>")
        if kind is Host:
            host.__class__ = Asgi
            host.prepare(settings, True)
    host.serve()
