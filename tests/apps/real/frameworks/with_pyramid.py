"""The pages of `tests/it/real_apps/frameworks.rs`, written with Pyramid."""
import os

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPClientError, HTTPFound
from pyramid.response import FileResponse, Response
from pyramid.session import SignedCookieSessionFactory
from pyramid.view import view_config

from pages import PHOTO, measured, stream


@view_config(route_name="hello", renderer="json")
def hello(request):
    name = request.matchdict["name"]
    return {"hello": name, "url": request.route_url("hello", name=name), "client": request.remote_addr}


@view_config(route_name="old")
def old(request):
    raise HTTPFound(request.route_url("hello", name="again"))


@view_config(route_name="count", renderer="string")
def count(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return "%d\n" % request.session["visits"]


@view_config(route_name="form", renderer="json", request_method="POST")
def form(request):
    field = request.POST["file"]
    return dict(title=request.POST["title"], name=field.filename, **measured(field.file))


@view_config(route_name="raw", renderer="json", request_method="POST")
def raw(request):
    return measured(request.body_file)


@view_config(route_name="lines")
def lines(request):
    return Response(app_iter=stream(int(request.params["many"])), content_type="text/plain")


@view_config(route_name="photo")
def photo(request):
    return FileResponse(os.environ["PHOTO"], request, content_type=PHOTO)


class Teapot(HTTPClientError):
    code, title = 418, "I'm a teapot"


@view_config(route_name="teapot")
def teapot(_):
    raise Teapot()


@view_config(context=Teapot)
def short_and_stout(_, __):
    return Response("short and stout", status=418)


@view_config(route_name="broken")
def broken(_):
    raise RuntimeError("broken on purpose")


def made():
    with Configurator(session_factory=SignedCookieSessionFactory("for tests only")) as config:
        config.add_route("hello", "/hello/{name}")
        for name in ("old", "count", "form", "raw", "lines", "photo", "teapot", "broken"):
            config.add_route(name, "/" + name)
        config.scan(__name__)
    return config.make_wsgi_app()


application = made()
