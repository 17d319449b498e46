"""The README, done: its lines are added to a fresh Django project, and a task is watched in it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import websockets

from project.processes import ROOT, Process, free_port
from project.redis_server import embedded_redis
from project.run import page_answers, worker_answers
from scripts.node import find_node

pytestmark = pytest.mark.integration

HOST = "127.0.0.1"
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
CELERY_BROKER_URL = CELERY_RESULT_BACKEND = "{url}"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
"""
#: Addresses for the README's views: the page of a project's own.
ADDRESSES = """\
from django.http import HttpResponse
from mysite import views
urlpatterns += [
    path("", lambda request: HttpResponse("ready")),
    path("start/", views.start),
    path("ended/<str:task_id>/", views.ended),
]
"""


@dataclass
class Site:
    """The fresh project, running."""

    url: str
    redis_url: str
    folder: Path

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=30) as answer:  # noqa: S310
            return json.load(answer)


def code(language: str) -> Iterator[str]:
    """The README's blocks of code in one language."""
    yield from re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def files() -> Iterator[tuple[str, str]]:
    """What the README adds to which file: `# mysite/urls.py …` begins each part."""
    for block in code("python"):
        parts = re.split(r"^# (mysite/\w+\.py).*\n", block, flags=re.MULTILINE)
        assert parts[0] == "", "a block of Python begins with the name of its file"
        yield from zip(parts[1::2], parts[2::2], strict=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("readme")
    env = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    env["PYTHONPATH"] = os.pathsep.join([str(folder), str(ROOT)])
    port, node = free_port(), f"readme-{free_port()}@tests"

    def python(*arguments: str) -> list[str]:
        return [sys.executable, "-m", *arguments]

    def run(*arguments: str) -> None:
        subprocess.run(python(*arguments), cwd=folder, env=env, check=True, capture_output=True)

    def append(file: str, text: str) -> None:
        path = folder / file
        before = path.read_text() if path.exists() else ""
        path.write_text(f"{before}\n{text}")

    with ExitStack() as stack:
        server, url = embedded_redis(folder / "redis", keep=False)
        stack.callback(server.stop)
        run("django", "startproject", "mysite", ".")
        append("mysite/celery.py", CELERY)
        append("mysite/__init__.py", "from .celery import app as celery_app\n")
        append("mysite/settings.py", CELERY_SETTINGS.format(url=url))
        for file, text in files():
            append(file, text.replace("redis://127.0.0.1:6379/0", url))
        append("mysite/urls.py", ADDRESSES)
        run("manage", "check", "--fail-level", "WARNING")
        run("manage", "migrate")

        command = python("celery", "-A", "mysite", "worker", "--concurrency", "1")
        command += ["--hostname", node, "--without-mingle", "--without-gossip"]
        worker = Process("worker", command, env=env)
        stack.callback(worker.stop)
        worker.start()
        command = python("daphne", "-b", HOST, "-p", str(port), "mysite.asgi:application")
        web = Process("web", command, env=env)
        stack.callback(web.stop)
        web.start()
        web.wait_ready(lambda: page_answers(HOST, port))
        worker.wait_ready(lambda: worker_answers(node, url))
        yield Site(f"http://{HOST}:{port}", url, folder)


def test_a_task_is_seen_to_end_over_a_websocket(site: Site) -> None:
    started = site.get("/start/")
    statuses = asyncio.run(follow(site, started["id"], started["token"]))

    assert statuses[-1]["state"] == "SUCCESS"
    assert statuses[-1]["result"] == {"rows": 1000}
    assert statuses[-1]["name"] == "mysite.tasks.import_rows"
    versions = [status["version"] for status in statuses]
    assert versions == sorted(set(versions))
    done = {"current": 1000, "total": 1000, "message": "importing"}
    assert statuses[-1]["progress"] == done


def test_a_view_waits_for_the_ending(site: Site) -> None:
    task_id = site.get("/start/")["id"]
    assert site.get(f"/ended/{task_id}/")["state"] == "SUCCESS"


def test_the_five_lines_of_javascript_show_the_ending(site: Site) -> None:
    node = find_node()
    if node is None:
        pytest.skip("no Node 22 or newer on PATH nor in Playwright's wheel")
    (script,) = code("js")
    assert len(script.strip().splitlines()) == 5
    client = (ROOT / "static/realtime/client.js").as_uri()
    started = site.get("/start/")
    # What a page is: a place, and a WebSocket that names it as its origin.
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


async def follow(site: Site, task_id: str, token: str) -> list[Any]:
    """Every status of the task, until its ending."""
    statuses: list[Any] = []
    address = f"{site.url.replace('http', 'ws')}/realtime/ws/"
    frame = {"type": "subscribe", "id": 1, "topic": f"task:{task_id}", "token": token}
    async with websockets.connect(address, origin=site.url) as socket:
        await socket.send(json.dumps(frame))
        while not statuses or statuses[-1]["state"] != "SUCCESS":
            heard = json.loads(await asyncio.wait_for(socket.recv(), 20))
            assert heard["type"] in {"welcome", "subscribed", "event"}, heard
            statuses += heard.get("snapshot", [])
            statuses += [heard["status"]] if "status" in heard else []
    return statuses
