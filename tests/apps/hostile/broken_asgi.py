"""ASGI apps, which a host of WSGI apps cannot call."""


async def asgi(scope, receive, send):
    pass


class Framework:
    async def __call__(self, scope, receive, send):
        pass


def asgi_wrapped(scope, receive, send):
    return asgi(scope, receive, send)


asgi_object = Framework()
