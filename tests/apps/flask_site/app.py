"""A small real Flask site: `module: "app:app"`."""
import hashlib
import os

from flask import Flask, Response, jsonify, request, session

app = Flask(__name__)
app.secret_key = os.environ.get("FLASK_SITE_SECRET", "for tests only")


@app.get("/")
def home():
    return "<!doctype html><title>Flask</title><h1>Hello from Flask</h1>\n"


@app.get("/hello/<name>")
def hello(name):
    return jsonify(hello=name, url=request.url, client=request.remote_addr)


@app.get("/count")
def count():
    """A cookie-kept session."""
    session["visits"] = session.get("visits", 0) + 1
    return str(session["visits"]) + "\n"


@app.post("/upload")
def upload():
    digest = hashlib.sha256()
    size = 0
    while True:
        chunk = request.stream.read(65536)
        if not chunk:
            return jsonify(size=size, sha256=digest.hexdigest())
        digest.update(chunk)
        size += len(chunk)


@app.get("/lines")
def lines():
    """A response from a generator."""
    many = request.args.get("many", 1000, type=int)
    return Response(("line {}\n".format(number) for number in range(many)), mimetype="text/plain")


@app.get("/broken")
def broken():
    raise RuntimeError("broken on purpose")
