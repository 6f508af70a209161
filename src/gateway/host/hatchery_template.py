"""The template of a preloaded app (`preload`), behind the host program in place of its last line.

It imports the app like a process that serves it, and has others forked from it: each FORK brings the pipes, the listening
socket and the output of one, and its settings (docs/decisions/0008-preload.md). FORKs come over a socket (HEAR_FD).
"""
from os import fork, waitpid

FORK, BORN, UNBORN, FORKED = 16, 17, 18, 19
NAME_SIZE = 8
TOLD_WHOLE = 4000  # bytes of a text that several processes tell over one pipe: it is not torn apart (pipe(7))
DONE = 86  # exit code of the process in between once it has forked: what a hook of the app ends has another one


class Template:
    """The process that has imported the app: others are forked from it (`preload`)."""

    def __init__(self, settings):
        self.settings = settings
        self.hears = socket(fileno=int(settings["HEAR_FD"]))
        self.tells = FileIO(int(settings["TELL_FD"]), "wb")
        for inherited in (self.hears, self.tells):
            os.set_inheritable(inherited.fileno(), False)
        self.hears.setblocking(True)
        self.master = os.getppid()
        self.app = None
        self.interface = None

    def tell(self, kind, payload=b""):
        tell(self.tells, kind, payload if kind in (FAILED, TROUBLE) else payload[:TOLD_WHOLE])

    def serve(self):
        """Until it must leave; in what is forked from it until that must."""
        try:
            from ctypes import CDLL  # here, so that it is loaded once for all

            prctl = CDLL(None).prctl
        except (ImportError, OSError):  # then the end of what the master says has to do

            def prctl(*_):
                pass

        gc.collect()
        if hasattr(gc, "freeze"):  # PyPy has none
            gc.freeze()  # the collector leaves shared pages alone
        threads = len(os.listdir("/proc/self/task"))
        self.tell(READY, COUNT.pack(threads))
        while True:
            packet, ancillary, _, _ = self.hears.recvmsg(RECEIVE, CMSG_SPACE(16))
            if not packet or packet[4] == LEAVE:
                break
            descriptors = [
                int.from_bytes(data[at : at + 4], sys.byteorder)
                for level, what, data in ancillary
                if level == SOL_SOCKET and what == SCM_RIGHTS
                for at in range(0, len(data), 4)
            ]
            name, settings = packet[HEADER_SIZE : HEADER_SIZE + NAME_SIZE], packet[HEADER_SIZE + NAME_SIZE :]
            if len(descriptors) == 4:
                flush()
                if self.fork(name):
                    return self.become(prctl, name, settings, descriptors)
            else:
                self.tell(UNBORN, name + b"its descriptors did not arrive: too many open files in the template")
            for descriptor in descriptors:
                os.close(descriptor)
        if threads > 1:
            os._exit(0)  # they could hold it up

    def fork(self, name):
        """Twice, so that the master becomes the parent; true in the new process, once it has."""
        adopted = ()
        done = True
        try:
            adopted = pipe()
            between = fork()
            if not between:
                try:
                    child = fork()
                except BaseException as error:
                    self.tell(UNBORN, name + str(error).encode())
                    child = -1
                if child:
                    if child > 0:  # before the master can reap it, however it ends
                        self.tell(FORKED, name + COUNT.pack(child))
                    os._exit(DONE if child > 0 else 0)
                os.close(adopted[1])
                read(adopted[0], 1)  # ends when the one between was reaped, or the template is dead
                os.close(adopted[0])
                return True
        except OSError as error:
            between = None
            self.tell(UNBORN, name + str(error).encode())
        if between:
            try:
                _, status = waitpid(between, 0)
                done = os.WIFEXITED(status) and os.WEXITSTATUS(status) == DONE
            except ChildProcessError:  # the app ignores SIGCHLD
                pass
        if not done:  # if the fork itself failed, for the second time: the first answer counts
            killed = os.WIFSIGNALED(status)
            how = "signal %d" % os.WTERMSIG(status) if killed else "exit %d" % os.WEXITSTATUS(status)
            self.tell(UNBORN, name + b"the process in between ended early: " + how.encode())
        for end in adopted:
            os.close(end)
        return False

    def become(self, prctl, name, settings, descriptors):
        """A process like those that are started by themselves."""
        os.setpgid(0, 0)
        if "gevent" in sys.modules:
            sys.modules["gevent"].reinit()  # its loop watches with what belongs to the template
        hears, tells, listener, output = descriptors
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        prctl(1, SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != self.master:  # it is dead, or not the parent that orphans get
            self.tell(UNBORN, name + b"the new process did not become a child of the master")
            os._exit(1)
        pairs = iter(str(settings, "utf-8", "surrogateescape").split("\0"))
        self.settings.update(zip(pairs, pairs), HEAR_FD=hears, TELL_FD=tells, LISTEN_FD=listener)
        show_title(self.settings["TITLE"])
        self.tell(BORN, name + COUNT.pack(os.getpid()))
        self.hears.close()
        self.tells.close()
        host = Host(self.settings)
        host.app = self.app
        if self.interface == "asgi":
            host.__class__ = Asgi
            host.prepare(self.settings, False)
        host.serve()


main(Template)
