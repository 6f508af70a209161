"""The pages of `tests/it/real_apps/frameworks.rs`, written with Flask."""
import os

from flask import Flask, Response, abort, jsonify, redirect, request, send_file, session, url_for

from pages import PHOTO, measured, stream

application = Flask(__name__)
application.secret_key = "for tests only"


@application.get("/hello/<name>")
def hello(name):
    return jsonify(hello=name, url=url_for("hello", name=name, _external=True), client=request.remote_addr)


@application.get("/old")
def old():
    return redirect(url_for("hello", name="again"))


@application.get("/count")
def count():
    session["visits"] = session.get("visits", 0) + 1
    return "%d\n" % session["visits"]


@application.post("/form")
def form():
    file = request.files["file"]
    return jsonify(title=request.form["title"], name=file.filename, **measured(file))


@application.post("/raw")
def raw():
    return jsonify(measured(request.stream))


@application.get("/lines")
def lines():
    return Response(stream(request.args.get("many", type=int)), mimetype="text/plain")


@application.get("/photo")
def photo():
    return send_file(os.environ["PHOTO"], mimetype=PHOTO)


@application.get("/teapot")
def teapot():
    abort(418)


@application.errorhandler(418)
def short_and_stout(_):
    return "short and stout", 418


@application.get("/broken")
def broken():
    raise RuntimeError("broken on purpose")
