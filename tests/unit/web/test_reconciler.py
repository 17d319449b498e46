"""Which processes start the reconciler by themselves."""

from __future__ import annotations

import os
import sys

import pytest
from django.test import AsyncRequestFactory

from realtime.web.reconciler import Reconciler


@pytest.fixture
def reconciler(monkeypatch):
    made = Reconciler()
    began = []
    monkeypatch.setattr(made, "start", lambda: began.append(True))
    made.began = began
    return made


@pytest.mark.parametrize(
    ("arguments", "begins"),
    [
        (["/venv/bin/daphne", "mysite.asgi:application"], True),
        (["/venv/lib/daphne/__main__.py", "mysite.asgi:application"], True),
        (["/venv/bin/uvicorn", "mysite.asgi:application", "--workers", "4"], True),
        (["manage.py", "runserver"], True),
        (["manage.py", "serve", "127.0.0.1:8000"], True),
        (["manage.py", "check", "--deploy"], False),
        (["manage.py", "migrate"], False),
        (["manage.py"], False),
        (["/venv/bin/celery", "-A", "mysite", "worker"], False),
        (["/venv/bin/pytest", "serve"], False),
        # Its processes are forks: each starts the reconciler at its first connection.
        (["/venv/bin/gunicorn", "--preload", "mysite.asgi:application"], False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_import_starts_it_only_in_a_server(reconciler, monkeypatch, arguments, begins):
    monkeypatch.setattr(sys, "argv", arguments)
    reconciler.start_in_server()
    assert bool(reconciler.began) is begins


@pytest.mark.parametrize(
    ("scope", "begins"),
    [
        ({"type": "lifespan"}, True),
        ({"type": "http", "server": ("127.0.0.1", 8000)}, True),
        ({"type": "websocket", "server": ["/run/site.sock", None]}, True),
        (AsyncRequestFactory().get("/").scope, False),
        (AsyncRequestFactory()._base_scope(), False),
        ({"type": "websocket", "path": "/realtime/ws/"}, False),  # Channels' communicator
    ],
    ids=lambda value: str(value),
)
def test_a_connection_starts_the_reconciler_unless_a_test_made_it(reconciler, scope, begins):
    reconciler.start_if_served(scope)
    assert bool(reconciler.began) is begins


def test_the_reconciler_starts_once_in_each_process_and_again_in_a_fork():
    reconciler = Reconciler()
    reconciler.start()
    thread = reconciler._thread
    reconciler.start()
    assert reconciler._thread is thread
    child = os.fork()
    if not child:
        forgotten = reconciler._thread is None
        reconciler.start()
        os._exit(0 if forgotten and reconciler._thread.is_alive() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    reconciler.stop()
