"""Callables of all kinds, of which the host finds out what they speak."""
import functools


async def coroutine(scope, receive, send):
    if scope["type"] != "http":
        raise TypeError("only HTTP")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"served"})


def plain(scope, receive, send):
    return coroutine(scope, receive, send)


def other_names(first, second, third):
    return coroutine(first, second, third)


class Framework:
    def __init__(self, debug=False):
        self.debug = debug

    async def __call__(self, scope, receive, send):
        await coroutine(scope, receive, send)

    async def method(self, scope, receive, send):
        await coroutine(scope, receive, send)

    @classmethod
    async def of_class(cls, scope, receive, send):
        await coroutine(scope, receive, send)

    @staticmethod
    async def static(scope, receive, send):
        await coroutine(scope, receive, send)


class Slotted:
    """What it is called by is an attribute of each object."""

    __slots__ = ("__call__",)

    def __init__(self, call):
        self.__call__ = call


class Endpoint:
    """A class whose objects are awaited."""

    def __init__(self, scope, receive, send):
        self.passed = scope, receive, send

    def __await__(self):
        return coroutine(*self.passed).__await__()


class Wrapper:
    """A decorator."""

    def __init__(self, wrapped):
        functools.update_wrapper(self, wrapped)
        self.wrapped = wrapped

    def __call__(self, *args, **kwargs):
        return self.wrapped(*args, **kwargs)


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


async def configured(settings, scope, receive, send, debug=None):
    await coroutine(scope, receive, send)


def create():
    return Framework()


async def create_late():
    return Framework()


def opaque(*args):
    return coroutine(*args)


instance = Framework()
bound = instance.method
slotted = Slotted(bound)
partial = functools.partial(configured, {}, debug=True)
wrapped = decorated(decorated(coroutine))
wrapping = Wrapper(coroutine)
anonymous = lambda scope, receive, send: coroutine(scope, receive, send)  # noqa: E731


def double(scope):
    async def run(receive, send):
        pass

    return run


class Double:
    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        pass


def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [b"served"]


class WsgiFramework:
    def __call__(self, environ, start_response):
        return wsgi(environ, start_response)


wsgi_instance = WsgiFramework()
wsgi_wrapped = decorated(wsgi)
wsgi_partial = functools.partial(lambda environ, start_response, name: wsgi(environ, start_response), name="a")
