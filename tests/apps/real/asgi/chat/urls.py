from asgiref.sync import sync_to_async
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path


async def visits(request):
    """A session in the database, from a coroutine."""
    seen = await sync_to_async(request.session.get)("visits", 0) + 1
    await sync_to_async(request.session.__setitem__)("visits", seen)
    return HttpResponse("%d\n" % seen)


def plain(request):
    return HttpResponse(request.build_absolute_uri())


async def lines(request):
    async def stream():
        for number in range(int(request.GET["many"])):
            yield "line %d\n" % number

    return StreamingHttpResponse(stream(), content_type="text/plain")


urlpatterns = [path("visits", visits), path("plain", plain), path("lines", lines)]
