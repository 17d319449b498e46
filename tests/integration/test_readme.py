"""The README, executed: its lines are added to a fresh Django project, and a task is watched."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import websockets

from project.processes import ROOT
from scripts.node import find_node
from tests.pasted import Project, Visitor, code, fresh_project

pytestmark = pytest.mark.integration

README = (ROOT / "README.md").read_text(encoding="utf-8")

#: What a project that uses Celery has already, as Celery's own documentation has it.
CELERY = """\
import os
from celery import Celery
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
app = Celery("mysite")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["mysite"])
"""
CELERY_SETTINGS = """\
CELERY_BROKER_URL = CELERY_RESULT_BACKEND = "redis://127.0.0.1:6379/0"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
"""
#: Addresses for the README's view, and a page that gives its visitor the CSRF cookie.
ADDRESSES = """\
from django.http import HttpResponse
from django.views.decorators.csrf import ensure_csrf_cookie
from mysite import views
urlpatterns += [
    path("", ensure_csrf_cookie(lambda request: HttpResponse("ready"))),
    path("start/", views.start),
]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with fresh_project(tmp_path_factory.mktemp("readme")) as project:
        project.append("mysite/celery.py", CELERY)
        project.append("mysite/__init__.py", "from .celery import app as celery_app\n")
        project.append("mysite/settings.py", CELERY_SETTINGS)
        project.paste(README)
        project.append("mysite/urls.py", ADDRESSES)
        project.run("manage.py", "check", "--fail-level", "WARNING")
        project.start()
        yield project


@pytest.fixture
def visitor(site: Project) -> Visitor:
    visitor = Visitor(site.url)
    assert visitor.open("/") == (200, "ready")
    return visitor


def test_a_task_is_seen_to_end_over_a_websocket(site: Project, visitor: Visitor) -> None:
    started = visitor.json("/start/", post=True)
    statuses = asyncio.run(follow(site, started["id"], started["token"]))

    assert statuses[-1]["state"] == "SUCCESS"
    assert statuses[-1]["result"] == {"rows": 1000}
    assert statuses[-1]["name"] == "mysite.tasks.import_rows"
    versions = [status["version"] for status in statuses]
    assert versions == sorted(set(versions))
    progress = statuses[-1]["progress"]
    assert (progress["current"], progress["total"]) == (1000, 1000)
    assert progress["message"] == "importing"


def test_the_documented_command_serves_the_client_too(visitor: Visitor) -> None:
    status, text = visitor.open("/static/realtime/client.js")
    assert status == 200
    assert "connect" in text


def test_a_task_is_not_started_by_a_link_of_another_site(visitor: Visitor) -> None:
    assert visitor.open("/start/")[0] == 405
    visitor.cookies.clear()
    assert visitor.open("/start/", post=True)[0] == 403


def test_the_five_lines_of_javascript_show_the_ending(site: Project, visitor: Visitor) -> None:
    node = find_node()
    if node is None:
        pytest.skip("no Node 22 or newer on PATH nor in Playwright's wheel")
    (script,) = code(README, "js")
    assert len(script.strip().splitlines()) == 5
    client = (ROOT / "static/realtime/client.js").as_uri()
    started = visitor.json("/start/", post=True)
    # A page: its address, and a WebSocket that sends it as its Origin.
    page = f"""
        globalThis.location = {{ href: "{site.url}/" }};
        const Socket = globalThis.WebSocket;
        globalThis.WebSocket = class extends Socket {{
          constructor(url) {{ super(url, {{ headers: {{ origin: "{site.url}" }} }}); }}
        }};
        Object.assign(globalThis, {json.dumps(started)}, {{ bar: {{}}, label: {{}} }});
    """
    file = site.folder / "readme.mjs"
    address = '"/static/realtime/client.js"'
    assert address in script
    script = script.replace(address, f'"{client}"')
    file.write_text(f"{page}{script}\nconsole.log(JSON.stringify([bar, label]));process.exit()")

    run = subprocess.run([node, str(file)], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == [{"max": 1000, "value": 1000}, {"textContent": "SUCCESS"}]


async def follow(site: Project, task_id: str, token: str) -> list[Any]:
    """Every status of the task, until its ending."""
    statuses: list[Any] = []
    address = f"{site.url.replace('http', 'ws')}/realtime/ws/"
    frame = {"type": "subscribe", "id": 1, "topic": f"task:{task_id}", "token": token}
    async with websockets.connect(address, origin=site.url) as socket:  # type: ignore[arg-type]
        await socket.send(json.dumps(frame))
        while not statuses or statuses[-1]["state"] != "SUCCESS":
            received = json.loads(await asyncio.wait_for(socket.recv(), 60))
            assert received["type"] in {"welcome", "subscribed", "event"}, received
            statuses += received.get("snapshot", [])
            statuses += [received["status"]] if "status" in received else []
    return statuses
