"""Finds out which interface an app speaks, where that does not show at first sight.

This text stands as a string in the program, and is compiled for an app that is not plainly WSGI.
"""
FUNCTIONS = "function", "cython_function_or_method"
DEEPEST_WRAPPER = 50  # around an app


def called(target):
    """What a call of it runs: a function, how many of its first arguments are given already, and the names of others that
    are. None if it does not show."""
    given = 0
    named = set()
    for _ in range(DEEPEST_WRAPPER):
        kind = type(target)
        if kind.__name__ in FUNCTIONS:
            code, inner = target.__code__, target.__dict__.get("__wrapped__")
            if inner is None or code.co_flags & COROUTINE or code.co_argcount > given:
                return target, given, named
            target = inner  # it only passes on what it gets
        elif kind.__name__ == "method":
            target, given = target.__func__, given + 1
        elif kind.__name__ == "partial" and kind.__module__ == "functools":
            named.update(target.keywords)
            target, given = target.func, given + len(target.args)
        elif isinstance(target, type):
            target, given = target.__init__, given + 1
        else:
            call = getattr(kind, "__call__", None)
            if type(call).__name__ not in FUNCTIONS:  # an attribute of each object
                call = call.__get__(target, kind)
                if type(call).__name__ not in (*FUNCTIONS, "method"):
                    return None
                target = call
            elif call.__code__.co_argcount > 1 or not hasattr(target, "__wrapped__"):
                target, given = call, given + 1
            else:
                target = target.__wrapped__
    return None


def arguments(target):
    """Names of the positional arguments that a call of it takes, how many of them it needs at least, and whether it runs
    as a coroutine; None if that does not show."""
    try:  # any object can be there, with any attributes
        function, given, named = called(target)
        code = function.__code__
        names = code.co_varnames[given : code.co_argcount]
        needed = max(len(names) - len(function.__defaults__ or ()), 0)
        taken = [at for at, name in enumerate(names) if name in named]
        if taken:
            names = names[: taken[0]]
            needed = min(needed, taken[0])
        elif code.co_flags & ANY_ARGUMENTS:
            names += ("*",) * (3 - len(names))
        return names, needed, bool(code.co_flags & COROUTINE)
    except Exception:
        return None


def interface(target):
    """What it speaks: wsgi, asgi or asgi2, as far as that shows (else an empty text); None if it cannot be called as any."""
    found = arguments(target)
    if found is None:
        return ""
    names, needed, runs = found
    instance = arguments(getattr(target, "__call__", None)) if isinstance(target, type) else None
    if names == ("scope",) and (instance is None or instance[0][-2:] == ("receive", "send")):
        return "asgi2"
    if instance is not None and instance[2] and not hasattr(target, "__await__"):
        return None  # a class whose objects are apps
    if names[:3] == ("scope", "receive", "send"):
        return "asgi"
    if runs or needed == 3:
        return "asgi" if needed <= 3 <= len(names) else None
    if "*" in names and needed == 0:
        return ""
    return "wsgi" if needed <= 2 <= len(names) else None


def found_out(target, module, name, wanted):
    """The interface that the app speaks, wsgi or asgi; another one than is wanted, if any is, is an error."""
    spoken = interface(target)
    if spoken is None:
        hint = "" if name.endswith("()") else "; if it makes an app, write %s:%s()" % (module, name)
        text = "%r in module %r takes neither environ and start_response (WSGI) nor scope, receive and send (ASGI)%s"
        raise TypeError(text % (name, module, hint))
    if spoken == "asgi2":
        text = "%r in module %r is an app of ASGI 2, called with nothing but scope, and this server speaks ASGI 3: wrap it"
        raise TypeError((text + " (asgiref.compatibility.guarantee_single_callable)") % (name, module))
    if wanted and spoken and wanted != spoken:
        articles = {"wsgi": "a WSGI", "asgi": "an ASGI"}
        text = "%r in module %r is %s app, but %s app is wanted here (`interface`)"
        raise TypeError(text % (name, module, articles[spoken], articles[wanted]))
    return wanted or spoken or "wsgi"
