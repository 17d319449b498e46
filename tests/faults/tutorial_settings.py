"""Settings of the tutorial: Channels and Celery, and nothing of this service."""

import json
import os

from . import timing  # noqa: F401 - connects receivers, and must be the first to do so

SECRET_KEY = "tutorial"
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["channels"]
ROOT_URLCONF = "tests.faults.tutorial"
REDIS_URL = os.environ["REDIS_URL"]
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [{"address": REDIS_URL, "socket_timeout": None}]},
    }
}
CELERY_BROKER_URL = os.environ["CELERY_BROKER_URL"]
CELERY_RESULT_BACKEND = os.environ["CELERY_RESULT_BACKEND"]
CELERY_IMPORTS = ["tests.faults.tasks"]
CELERY_TASK_TRACK_STARTED = True
USE_TZ = True

globals().update(json.loads(os.environ.get("FAULTS_SETTINGS") or "{}"))
