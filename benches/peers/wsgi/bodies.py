"""hello for GET; who sends a body gets 100 KiB once it is whole."""
LARGE = b"x" * (100 << 10)


def application(environ, start_response):
    body = b"hello\n"
    if environ["REQUEST_METHOD"] == "POST":
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        body = LARGE
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
