"""The Celery app of the project: `celery -A project.celery:app worker`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

app = Celery("project", task_cls="realtime.worker.task:Task", include=["tasks"])
app.config_from_object("django.conf:settings", namespace="CELERY")
