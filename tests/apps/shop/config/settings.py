"""Settings of the shop: production-like (DEBUG off), with everything that changes at run time below one directory.

SHOP_VAR         database, uploads, collected static files, secret key; "var" beside manage.py unless set
SHOP_HOSTS       comma-separated ALLOWED_HOSTS
SHOP_SECRET_KEY  instead of the key kept in SHOP_VAR
"""
import os
import secrets
import tempfile
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
VAR = (BASE_DIR / (os.environ.get("SHOP_VAR") or "var")).resolve()
VAR.mkdir(parents=True, exist_ok=True)


def secret_key():
    """The key from the environment, or one made at the first start and kept."""
    if os.environ.get("SHOP_SECRET_KEY"):
        return os.environ["SHOP_SECRET_KEY"]
    kept = VAR / "secret_key"
    if not kept.exists():
        # Several processes may start at once: the first to link its complete file wins.
        with tempfile.NamedTemporaryFile("w", dir=str(VAR)) as new:
            new.write(secrets.token_urlsafe(50))
            new.flush()
            try:
                os.link(new.name, str(kept))
            except FileExistsError:
                pass
    return kept.read_text()


SECRET_KEY = secret_key()
DEBUG = False
ALLOWED_HOSTS = (os.environ.get("SHOP_HOSTS") or "localhost,127.0.0.1,[::1]").split(",")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "shop",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(VAR / "shop.sqlite3"),
        # Seconds to wait while another process writes.
        "OPTIONS": {"timeout": 20},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    # Names with a hash of the content, so that browsers may keep them for ever.
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
}
STATIC_URL = "/static/"
STATIC_ROOT = str(VAR / "static")
MEDIA_URL = "/media/"
MEDIA_ROOT = str(VAR / "media")
# The web server may run as another user than the app.
FILE_UPLOAD_PERMISSIONS = 0o644
# Uploads above this go to a temporary file, never into memory.
FILE_UPLOAD_MAX_MEMORY_SIZE = 256 * 1024

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True

# Django's defaults keep quiet when DEBUG is off; the server shows what an app writes to standard error.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
}
