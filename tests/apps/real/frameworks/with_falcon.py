"""The pages of `tests/it/real_apps/frameworks.rs`, written with Falcon."""
import os

import falcon

from pages import PHOTO, measured, stream


class Hello:
    def on_get(self, request, response, name):
        url = request.prefix + falcon.uri.encode(request.path)
        response.media = {"hello": name, "url": url, "client": request.remote_addr}


class Old:
    def on_get(self, request, response):
        raise falcon.HTTPFound(request.prefix + "/hello/again")


class Count:
    """Falcon has no sessions: a cookie."""

    def on_get(self, request, response):
        visits = int(request.cookies.get("visits", 0)) + 1
        response.set_cookie("visits", str(visits), secure=False)
        response.content_type, response.text = "text/plain", "%d\n" % visits


class Form:
    def on_post(self, request, response):
        response.media = found = {}
        for part in request.get_media():
            if part.name == "file":
                found.update(name=part.filename, **measured(part.stream))
            else:
                found[part.name] = part.text


class Raw:
    def on_post(self, request, response):
        response.media = measured(request.bounded_stream)


class Lines:
    def on_get(self, request, response):
        response.content_type, response.stream = "text/plain", stream(request.get_param_as_int("many"))


class Photo:
    def on_get(self, request, response):
        response.content_type = PHOTO
        response.set_stream(open(os.environ["PHOTO"], "rb"), os.path.getsize(os.environ["PHOTO"]))

    on_head = on_get


class Teapot:
    def on_get(self, request, response):
        raise falcon.HTTPStatus("418 I'm a teapot", text="short and stout")


class Broken:
    def on_get(self, request, response):
        raise RuntimeError("broken on purpose")


application = falcon.App()
application.add_route("/hello/{name}", Hello())
for resource in (Old(), Count(), Form(), Raw(), Lines(), Photo(), Teapot(), Broken()):
    application.add_route("/" + type(resource).__name__.lower(), resource)
