"""The pages for an app whose standard library gevent has replaced."""
from gevent import monkey

monkey.patch_all()

from pages import application  # noqa: E402
