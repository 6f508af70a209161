"""An app in whose process no thread can be started."""
import threading

from hostile import application  # noqa: F401


def start(thread):
    raise RuntimeError("can't start new thread")


threading.Thread.start = start
