"""The pages for an app whose standard library eventlet has replaced."""
import eventlet

eventlet.monkey_patch()

from pages import application  # noqa: E402
