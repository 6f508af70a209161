"""Pages that use what gevent and eventlet replace."""
import os
import threading
import time
from urllib.parse import parse_qs


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [PAGES[environ["PATH_INFO"]](environ).encode()]


def sleep(environ):
    """Replaced functions go back to the hub of the thread that runs the request."""
    time.sleep(0.05)
    lock = threading.Lock()
    with lock:
        thread = threading.Thread(target=time.sleep, args=(0.01,))
        thread.start()
        thread.join()
    return "slept\n"


def held(environ):
    """Blocks the whole thread until the test opens the gate."""
    os.write(1, b"held at the gate\n")
    with open(parse_qs(environ["QUERY_STRING"])["gate"][0]) as gate:
        gate.read()
    return "let go\n"


def pid(environ):
    return "{}\n".format(os.getpid())


PAGES = {"/sleep": sleep, "/held": held, "/pid": pid}
