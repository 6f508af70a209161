"""The plain site behind a real SCGI server: `python serve.py PATH` listens on a Unix socket."""
import io
import os
import sys

from flup.server.scgi import WSGIServer

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "plain"))
from app import application  # noqa: E402


def bounded(environ, start_response):
    """flup's input goes on to the end of the connection; the body ends with its length."""
    length = int(environ["CONTENT_LENGTH"])
    environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(length) if length else b"")
    return application(environ, start_response)


WSGIServer(bounded, bindAddress=sys.argv[1]).run()
