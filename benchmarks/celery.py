"""The Celery app of a measured worker: BENCHMARKS_WAY selects the receivers of its signals."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")
WAY = os.environ.get("BENCHMARKS_WAY", "realtime")

app = Celery(
    "benchmarks",
    task_cls="realtime.worker.task:Task" if WAY == "realtime" else None,
    include=["benchmarks.tasks"],
)
app.config_from_object("django.conf:settings", namespace="CELERY")

if WAY == "tutorial":
    from benchmarks.peers import tutorial_signals  # noqa: F401 - connects its receivers
