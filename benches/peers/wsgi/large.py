"""Django in one file: /download?SIZE is a stream of so many bytes, /upload answers how many have come."""
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

PIECE = b"x" * (64 << 10)

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="of a benchmark", USE_TZ=True)


def pieces(size):
    while size > 0:
        yield PIECE[:size]
        size -= len(PIECE)


def download(request):
    size = int(request.META["QUERY_STRING"] or 0)
    return StreamingHttpResponse(pieces(size), content_type="application/octet-stream", headers={"Content-Length": str(size)})


def upload(request):
    came = 0
    while True:
        piece = request.read(len(PIECE))
        if not piece:
            return HttpResponse("{}\n".format(came), content_type="text/plain")
        came += len(piece)


urlpatterns = [path("download", download), path("upload", upload)]
application = get_wsgi_application()
