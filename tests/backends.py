"""Result backends of each kind that the service can read, empty, and made for one test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from celery import Celery
from celery.backends.cache import _DUMMY_CLIENT_CACHE
from django.db import connection
from django.test import modify_settings

#: The kinds that can be queried for endings since a time, and one that cannot.
DATABASES = ("sqlalchemy", "django")
KINDS = (*DATABASES, "memory")


def app_with(backend: str | None) -> Celery:
    app = Celery("results", backend=backend, set_as_current=False)
    app.backend_cls = backend  # takes precedence over the environment
    return app


@contextmanager
def result_app(kind: str, directory: Path) -> Iterator[Celery]:
    """A Celery app whose result backend is of this kind.

    Tables are made and dropped, which a test's own transaction would forbid.
    """
    if kind == "memory":
        _DUMMY_CLIENT_CACHE.clear()
        yield app_with("cache+memory://")
    elif kind == "sqlalchemy":
        app = app_with(f"db+sqlite:///{directory / 'results.sqlite3'}")
        yield app
        app.backend.session_manager.invalidate(app.backend.url)
    else:
        with modify_settings(INSTALLED_APPS={"append": "django_celery_results"}):
            from django_celery_results.models import TaskResult

            with connection.schema_editor() as editor:
                editor.create_model(TaskResult)
            try:
                yield app_with("django-db")
            finally:
                with connection.schema_editor() as editor:
                    editor.delete_model(TaskResult)
