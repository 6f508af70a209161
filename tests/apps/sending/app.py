"""A WSGI app that has others answer in its place. What it says stands in the query: `?status=`, `?field=Name: value` as often
as one likes, `?body=`; with `?endless=1` its body has no end. `/environ` shows what it was asked."""
import json
from urllib.parse import parse_qs

closed = 0


class Endless:
    """A body that is closed as often as `/closed` says."""

    def __iter__(self):
        while True:
            yield b"more and more " * 1000

    def close(self):
        global closed
        closed += 1


def application(environ, start_response):
    asked = parse_qs(environ["QUERY_STRING"], keep_blank_values=True, encoding="latin-1")
    path = environ["PATH_INFO"]
    fields = [tuple(field.split(": ", 1)) for field in asked.get("field", [])]
    status = asked.get("status", ["200 OK"])[0]
    if path.startswith("/closed"):
        body = str(closed).encode()
    elif path.endswith("/environ"):
        body = json.dumps({name: value for name, value in environ.items() if isinstance(value, str)}).encode()
        body = json.dumps([json.loads(body), environ["wsgi.input"].read().decode()]).encode()
    else:
        body = asked.get("body", [""])[0].encode()
    if "endless" in asked:
        start_response(status, fields)
        return Endless()
    start_response(status, [*fields, ("Content-Length", str(len(body)))])
    return [body]
