"""Fails two calls deep."""


def settings():
    import no_such_dependency


settings()
