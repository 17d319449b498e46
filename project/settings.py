"""The settings of the project. Environment variables change them.

| variable | default |
|---|---|
| DATA_DIR | `.data`, in the folder of manage.py: database, secret key, uploads, data of Redis |
| REDIS_URL | the server of a running `make run` with this DATA_DIR, or redis://127.0.0.1:6379/0 |
| HOST | 127.0.0.1. The address that serves the page; it is an allowed host |
| CELERY_BROKER_URL, CELERY_RESULT_BACKEND | REDIS_URL |
| CELERY_IMPORTS | none. More modules with tasks, separated by commas |
| DJANGO_SECRET_KEY | a random key, which is stored in DATA_DIR/secret_key at the first start |
| DJANGO_DEBUG | off. `1` turns it on |
| DJANGO_ALLOWED_HOSTS | none. More hosts than HOST and the loopback's, separated by commas |
| DJANGO_CSRF_TRUSTED_ORIGINS | none. Origins with their scheme, separated by commas |
"""

import os
from pathlib import Path

from django.core.management.utils import get_random_secret_key

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("DATA_DIR") or BASE_DIR / ".data").resolve()
# Only this user may read uploads.
DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)


def _listed(name: str) -> list[str]:
    return [item.strip() for item in os.environ.get(name, "").split(",") if item.strip()]


def _secret_key() -> str:
    """Return the stored key. The first start makes it; only the file's owner may read it."""
    path = DATA_DIR / "secret_key"
    fresh = path.with_name(f"secret_key.{os.getpid()}")
    if not path.exists():
        # Web and worker may start together: each links a complete file into place, and the
        # first one wins.
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(get_random_secret_key())
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_text()


def _redis_url() -> str:
    if given := os.environ.get("REDIS_URL"):
        return given
    # While `make run` runs, this file has the address of its server, so that `manage.py` in
    # another terminal uses the same server.
    running = DATA_DIR / "redis_url"
    return running.read_text().strip() if running.exists() else "redis://127.0.0.1:6379/0"


SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY") or _secret_key()
DEBUG = os.environ.get("DJANGO_DEBUG", "").lower() in ("1", "true", "yes", "on")
ALLOWED_HOSTS = sorted(
    {"localhost", "127.0.0.1", "[::1]", os.environ.get("HOST") or "127.0.0.1"}
    | set(_listed("DJANGO_ALLOWED_HOSTS"))
)
CSRF_TRUSTED_ORIGINS = _listed("DJANGO_CSRF_TRUSTED_ORIGINS")

INSTALLED_APPS = [
    "realtime",  # first: Django uses the `runserver` of the first app
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "project.middleware.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "realtime.middleware.OwnerMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "project.urls"
ASGI_APPLICATION = "project.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "project" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA_DIR / "db.sqlite3",
        "OPTIONS": {
            # Readers do not wait for a writer, and a writer waits at its start instead of
            # failing later.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
            "transaction_mode": "IMMEDIATE",
            "timeout": 10,
        },
    }
}
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = LOGOUT_REDIRECT_URL = "page"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
MEDIA_ROOT = DATA_DIR / "uploads"

REDIS_URL = _redis_url()
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        # By default redis-py ends a read after 5 s, but a subscriber waits longer for messages.
        "CONFIG": {"hosts": [{"address": REDIS_URL, "socket_timeout": None}]},
    }
}
REALTIME = {"REDIS_URL": REDIS_URL}

CELERY_INCLUDE = ["tasks"]
CELERY_BROKER_URL = os.environ.get("CELERY_BROKER_URL") or REDIS_URL
CELERY_RESULT_BACKEND = os.environ.get("CELERY_RESULT_BACKEND") or REDIS_URL
CELERY_IMPORTS = _listed("CELERY_IMPORTS")
CELERY_TASK_SERIALIZER = "json"
CELERY_RESULT_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_RESULT_ACCEPT_CONTENT = ["json"]
CELERY_TASK_TRACK_STARTED = True
CELERY_RESULT_EXTENDED = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TIMEZONE = TIME_ZONE
