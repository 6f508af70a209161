

class Link:
    """The connection of one worker to the process."""

    def __init__(self, host, connection):
        self.host = host
        self.loop = host.loop
        self.socket = connection
        self.receive = connection.recvmsg
        self.write = connection.send
        self.window = host.window
        self.answers = None  # a pipe to answer by in place of the socket: the master reads nothing else
        self.row = None
        self.dead = False  # the worker has gone, or is none
        self.most = HEADER_SIZE + HELLO_PAYLOAD.size  # bytes of the next read: at first of HELLO, and what comes with that
        self.data = b""  # a part of a frame
        self.descriptors = []
        self.exchanges = {}  # by stream
        self.pending = {}  # requests whose body is on its way, with its parts
        self.out = []  # what is sent together at the end of this turn; a tuple has a descriptor with it
        self.files = False  # whether there are such
        self.size = 0
        self.ends = []  # exchanges whose END goes with that
        self.flushing = False  # that is due
        self.rest = []  # what the socket had no room for
        self.blocked = False
        self.writers = []  # exchanges that wait for that
        connection.setblocking(False)
        self.descriptor = connection.fileno()
        self.loop.add_reader(self.descriptor, self.on_readable)

    def on_readable(self):
        """Reads once, and takes the frames that are whole."""
        if self.dead:
            return
        try:
            data, ancillary, state, _ = self.receive(self.most, ANCILLARY)
        except BlockingIOError:
            return
        except OSError:
            return self.end()
        if ancillary or state & MSG_CTRUNC:
            self.take_in(ancillary, state)
        if not data:
            return self.end()
        if self.data:
            data = self.data + data
        self.flushing = self.row is not None  # below
        at = 0
        last = len(data) - HEADER_SIZE
        while at <= last:
            length, kind, flags, _, number = HEADER.unpack_from(data, at)
            if length > last - at:
                break
            start = at + HEADER_SIZE
            at = start + length
            if self.row is not None:
                right = self.on_frame(kind, flags, number, data[start:at])
            else:
                right = kind == HELLO and self.on_hello(data[start:at])
            if not right or self.dead:
                return self.end()
        self.data = data[at:]
        if self.row is None:
            self.most = HEADER_SIZE + HELLO_PAYLOAD.size - len(data)
            return None if self.most > 0 else self.end()
        # A descriptor comes with the first byte of its request, which may be there in part.
        if len(self.descriptors) > (1 if self.data else 0):
            return self.end()
        self.flushing = False
        if self.out or self.ends:  # what began at once has sent
            self.flush()
        else:  # behind what wakes up now
            self.schedule()

    def take_in(self, ancillary, state):
        for level, what, payload in ancillary:
            if level == SOL_SOCKET and what == SCM_RIGHTS:
                for at in range(0, len(payload) // 4 * 4, 4):
                    self.descriptors.append(int.from_bytes(payload[at : at + 4], sys.byteorder))
        if state & MSG_CTRUNC:
            self.descriptors.append(-1)  # in its place

    def on_hello(self, payload):
        """Whether it is one."""
        if len(payload) != HELLO_PAYLOAD.size:
            return False
        version, row, unit = HELLO_PAYLOAD.unpack(payload)
        if version != VERSION or unit != WHOLE:
            return False
        if self.descriptors:
            if self.descriptors[0] < 0 or not self.host.is_master(self.socket):
                return False
            self.answers = FileIO(self.descriptors.pop(0), "wb")
            os.set_blocking(self.answers.fileno(), False)
            self.write = self.write_answer
            self.window = LONGEST  # it gives no credit, and takes what comes
        self.row = row
        self.most = RECEIVE
        return True

    def write_answer(self, data):
        return write(self.answers.fileno(), data)

    def on_frame(self, kind, flags, number, payload):
        """Whether it is one that may come."""
        if kind == REQUEST:
            return self.on_request(flags, number, payload)
        exchange = self.exchanges.get(number)
        if kind == BODY or kind == END:
            return self.on_body(kind, number, payload)
        if exchange is None:  # it is over, and who sent this does not know it yet
            if kind == CANCEL and number in self.pending:
                self.pending[number][0].gone = True
            return kind in (CANCEL, CREDIT, TEXT, BINARY, CLOSE)
        if kind == CREDIT and len(payload) == COUNT.size:
            exchange.credit(*COUNT.unpack(payload))
        elif kind == CANCEL:
            exchange.on_cancel(0 if payload else MOMENT)
        elif exchange.kind == "websocket" and kind in (TEXT, BINARY):
            exchange.on_message(kind, flags, payload)
        elif exchange.kind == "websocket" and kind == CLOSE and len(payload) >= CODE.size:
            exchange.on_close(*CODE.unpack_from(payload), str(payload[CODE.size :], "utf-8", "replace"))
        else:
            return False
        return True

    def on_request(self, flags, number, payload):
        """Begins it, if it has no body that follows."""
        host = self.host
        fields = payload.split(b"\0")
        if len(fields) < 15 or not len(fields) % 2 or number in self.exchanges or number & 65535 >= host.count:
            return False
        kind, version, method, scheme, path, raw, query, mount = fields[:8]
        client, client_port, server, server_port, ident, queued = fields[8:14]
        pairs = iter(fields[14:-1])
        ident = str(ident, "latin-1")
        if not (client_port + server_port + queued).isdigit() and (client_port or server_port or queued):
            return False
        scope = {
            "type": "http",
            "asgi": INTERFACE_VERSIONS.copy(),
            "http_version": str(version, "latin-1"),
            "method": str(method, "latin-1"),
            "scheme": str(scheme, "latin-1"),
            "path": str(path, "utf-8", "replace"),
            "raw_path": raw,
            "query_string": query,
            "root_path": str(mount, "utf-8", "replace"),
            "headers": list(zip(pairs, pairs)),
            "client": (str(client, "latin-1"), int(client_port or 0)) if client else None,
            "server": (str(server, "utf-8", "replace"), int(server_port) if server_port else None),
            "state": host.lifespan.state.copy(),
            "extensions": {
                "http.response.pathsend": {},
                "http.response.early_hint": {},
                "http.response.trailers": {},
                "hatchery": {"request_id": ident, "queued": int(queued or 0) / 1_000_000},
            },
        }
        exchange = (Http if kind == b"http" else WebSocket)(self, number, scope, ident)
        if flags & DESCRIPTOR:
            if not self.descriptors:
                return False
            descriptor = self.descriptors.pop(0)
            if descriptor < 0:
                sys.stderr.write("a request body did not arrive: too many open files in the app\n")
                exchange.gone = True
            elif not exchange.take_file(descriptor):
                return False
        elif not flags & NO_BODY:
            self.pending[number] = exchange, []
            return True
        self.begin(exchange)
        return True

    def begin(self, exchange):
        if self.host.leaving:  # it is for another process
            exchange.drop()
            self.put(ENDED.pack(0, END, ABORT, 0, exchange.number, FREE_SIZE, FREE, 0, 0, exchange.number, 0), b"")
            return
        self.exchanges[exchange.number] = exchange
        exchange.task = self.host.start(exchange.run())

    def on_body(self, kind, number, payload):
        """A part of the body of a request, or its end."""
        waits = self.pending.get(number)
        if waits is None:
            return True
        exchange, parts = waits
        if kind == BODY:
            parts.append(payload)
        else:
            del self.pending[number]
            exchange.body = b"".join(parts)
            self.begin(exchange)
        return True

    def schedule(self):
        self.flushing = True
        self.loop.call_soon(self.flush)

    def put(self, header, data):
        """A frame, in a copy: it may be a part of something large."""
        self.out += header, bytes(data)
        self.size += len(data)
        if self.size >= TOGETHER:
            self.flush()
        elif not self.flushing:
            self.schedule()

    def flush(self):
        """Sends what is there, with one call."""
        self.flushing = False
        out = self.out
        if self.ends:
            for exchange in self.ends:
                if exchange.due:
                    exchange.due = False
                    out.append(HEADER.pack(0, END, exchange.abort, 0, exchange.number))
            self.ends.clear()
        if not out or self.dead:
            out.clear()
            return
        self.size = 0
        if self.blocked or self.files:
            self.files = False
            self.rest += out
            out.clear()
            return self.blocked or self.drain()
        data = b"".join(out)
        out.clear()
        try:
            sent = self.write(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return self.die()
        if sent < len(data):
            self.block([data[sent:]])

    def block(self, rest):
        self.rest = rest
        self.blocked = True
        descriptor = self.descriptor if self.answers is None else self.answers.fileno()
        self.loop.add_writer(descriptor, self.drain)

    def drain(self):
        """Sends what is left, each descriptor with the first byte of its frame."""
        rest = deque(self.rest)
        try:
            while rest:
                item = rest.popleft()
                if type(item) is tuple:
                    sent = self.send_descriptor(*item)
                    item = item[0]
                else:
                    together = [item]
                    while rest and type(rest[0]) is not tuple:
                        together.append(rest.popleft())
                    item = b"".join(together)
                    sent = self.write(item)
                if sent < len(item):
                    rest.appendleft(item[sent:])
                    break
        except BlockingIOError:
            rest.appendleft(item)
        except OSError:
            # A descriptor that went is closed already; its number may be somebody else's.
            self.rest = [item, *rest] if type(item) is tuple else list(rest)
            return self.die()
        if rest:
            if not self.blocked:
                return self.block(list(rest))
            self.rest = list(rest)
            return
        self.rest = []
        if self.blocked:
            self.blocked = False
            self.loop.remove_writer(self.descriptor if self.answers is None else self.answers.fileno())
            writers, self.writers = self.writers, []
            for exchange in writers:
                exchange.wake()

    def send_descriptor(self, data, descriptor):
        """The bytes of a FILE that were sent; whoever asks for the master does not look at the content."""
        if self.answers is not None:
            sent = self.write(data)
        else:
            rights = (SOL_SOCKET, SCM_RIGHTS, descriptor.to_bytes(4, sys.byteorder))
            sent = self.socket.sendmsg([data], [rights])
        os.close(descriptor)
        return sent

    def die(self):
        """The socket takes nothing any more. Who calls may be an exchange in its midst."""
        self.out.clear()
        self.flushing = True
        self.loop.call_soon(self.end)

    def end(self):
        """The worker has gone, or is none: its requests are cancelled, and the master learns when they have ended."""
        if self.dead:
            return
        self.dead = self.flushing = True
        for exchange in list(self.exchanges.values()):
            exchange.on_lost()
        self.close()
        if not self.exchanges:
            self.host.streams.discard(self)

    def close(self):
        """Closes the stream, with what lies there and what came over it."""
        self.dead = self.flushing = True
        if self.socket.fileno() < 0:
            return
        self.loop.remove_reader(self.descriptor)
        if self.blocked:
            self.loop.remove_writer(self.descriptor if self.answers is None else self.answers.fileno())
        left = [item[1] for item in [*self.rest, *self.out] if type(item) is tuple]
        self.rest, self.out = [], []
        for exchange, _ in self.pending.values():
            exchange.drop()
        close(self.socket, left + [descriptor for descriptor in self.descriptors if descriptor >= 0])
        if self.answers is not None:
            self.answers.close()
