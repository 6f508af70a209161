"""Sleeps as many milliseconds as the query says, and answers how many microseconds that took."""
import time


def application(environ, start_response):
    began = time.monotonic()
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    time.sleep(int(environ["QUERY_STRING"] or 0) / 1000)
    body = b"%d\n" % ((time.monotonic() - began) * 1e6)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
