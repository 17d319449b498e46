"""Fresh Django projects that are made of nothing but the code blocks of a page of the docs."""

from __future__ import annotations

import http.cookiejar
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from project.processes import ROOT, Process, free_port
from project.redis_server import embedded_redis
from project.run import page_answers, worker_answers

HOST = "127.0.0.1"
#: Seconds that a process has to become ready, on a machine that is busy.
READY = 120.0
#: The first line of a block names its file, as a comment of Python or of a template.
FILE = re.compile(r"^(?:# |\{# )(mysite/[\w/]+\.(?:py|html)).*\n", re.MULTILINE)


def code(page: str, language: str) -> list[str]:
    """Return a page's blocks of code in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


def files(page: str) -> Iterator[tuple[str, str]]:
    """Return what a page adds to which file of `mysite`, in its order."""
    for _, block in re.findall(
        r"^```(python|html)\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE
    ):
        parts = FILE.split(block)
        if len(parts) > 1:
            assert parts[0] == "", f"a block begins with the name of its file: {block}"
            yield from zip(parts[1::2], parts[2::2], strict=True)


class Visitor:
    """Somebody with cookies of their own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def open(self, path: str, *, post: bool = False) -> tuple[int, str]:
        """Return the status and the text of an answer."""
        token = next((each.value for each in self.cookies if each.name == "csrftoken"), "")
        data = urlencode({"csrfmiddlewaretoken": token}).encode() if post else None
        try:
            with self._opener.open(f"{self.url}{path}", data, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode(errors="replace")

    def json(self, path: str, *, post: bool = False) -> Any:
        """Return an answer that is JSON."""
        status, text = self.open(path, post=post)
        assert status == 200, text
        return json.loads(text)


@dataclass
class Project:
    """A fresh project in a folder, and its processes."""

    folder: Path
    redis_url: str
    stack: ExitStack
    port: int = field(default_factory=free_port)
    node: str = field(default_factory=lambda: f"pasted-{free_port()}@tests")

    def __post_init__(self) -> None:
        # As it is installed: the client's files are inside the package.
        packages = self.folder.with_name(f"{self.folder.name}-packages")
        shutil.copytree(ROOT / "realtime", packages / "realtime")
        shutil.copytree(
            ROOT / "static" / "realtime",
            packages / "realtime" / "static" / "realtime",
            dirs_exist_ok=True,
        )
        mine = ("DJANGO_SETTINGS_MODULE", "DATA_DIR", "REDIS_URL")
        self.env = {key: value for key, value in os.environ.items() if key not in mine}
        self.env["PYTHONPATH"] = os.pathsep.join([str(self.folder), str(packages)])

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def run(self, *arguments: str, check: bool = True) -> str:
        """Run Python with these arguments; return what it wrote."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def append(self, file: str, text: str) -> None:
        """Add to a file, which may not be there yet."""
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text() if path.exists() else ""
        text = text.replace("redis://127.0.0.1:6379/0", self.redis_url)
        path.write_text(f"{before}\n{text}" if before else text)

    def paste(self, page: str) -> None:
        """Add all the blocks of a page."""
        for file, text in files(page):
            self.append(file, text)

    def start(self) -> None:
        """Run the documented commands, and return when they are ready."""
        self.run("manage.py", "migrate")
        command = [sys.executable, "-m", "celery", "-A", "mysite", "worker"]
        # One child, and a name, so that the test finds it.
        command += ["--concurrency", "1", "--hostname", self.node]
        worker = self._process("worker", command)
        web = self._process("web", [sys.executable, "manage.py", "runserver", str(self.port)])
        web.wait_ready(lambda: page_answers(HOST, self.port), timeout=READY)
        worker.wait_ready(lambda: worker_answers(self.node, self.redis_url), timeout=READY)

    def _process(self, name: str, command: list[str]) -> Process:
        # In its folder: `Process` starts in the checkout.
        inside = "import os, sys; os.chdir(sys.argv[1]); os.execv(sys.argv[2], sys.argv[2:])"
        process = Process(
            name, [sys.executable, "-c", inside, str(self.folder), *command], env=self.env
        )
        self.stack.callback(process.kill)
        process.start()
        return process


@contextmanager
def fresh_project(folder: Path) -> Iterator[Project]:
    """`django-admin startproject mysite .`, and a Redis."""
    with ExitStack() as stack:
        server, url = embedded_redis(folder.with_name(f"{folder.name}-redis"), keep=False)
        stack.callback(server.stop)
        project = Project(folder, url, stack)
        project.run("-m", "django", "startproject", "mysite", ".")
        yield project
