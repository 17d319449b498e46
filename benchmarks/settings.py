"""The settings of all measured processes: those of the project, for many clients of one address.

BENCHMARKS_WAY selects the apps: only with "realtime" is the service installed.
"""

import os
from importlib.util import find_spec
from urllib.parse import urlsplit

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS as _APPS
from project.settings import MIDDLEWARE as _MIDDLEWARE
from project.settings import REDIS_URL

_REDIS = urlsplit(REDIS_URL)
_HOSTS = [{"address": REDIS_URL, "socket_timeout": None}]

globals()["REALTIME"] = {
    "REDIS_URL": REDIS_URL,
    "CHANNEL_LAYER": "pubsub",
    "MAX_CONNECTIONS": 100_000,
    "MAX_CONNECTIONS_PER_ADDRESS": 100_000,
    "MAX_CONNECTIONS_PER_USER": 100_000,
}
globals()["CHANNEL_LAYERS"] = {
    # As in the layer's documentation, with two exceptions. By default redis-py 8 ends an idle read
    # after 5 s, and refuses a 101st connection; the core layer needs one for each socket.
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {"hosts": [{**_HOSTS[0], "max_connections": 100_000}]},
    },
    "pubsub": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": _HOSTS},
    },
}
EVENTSTREAM_REDIS = {"host": _REDIS.hostname, "port": _REDIS.port, "db": 0}

_OPTIONAL = ("django_eventstream", "celery_progress")
INSTALLED_APPS = [*_APPS, *(app for app in _OPTIONAL if find_spec(app))]
MIDDLEWARE = _MIDDLEWARE
if os.environ.get("BENCHMARKS_WAY", "realtime") != "realtime":
    INSTALLED_APPS = [app for app in INSTALLED_APPS if app != "realtime"]
    MIDDLEWARE = [each for each in MIDDLEWARE if not each.startswith(("realtime.", "project."))]
    ROOT_URLCONF = "benchmarks.peers.urls"
