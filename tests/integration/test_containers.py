"""The container files name existing files, and compose can read its own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from project.processes import ROOT

pytestmark = pytest.mark.integration


def test_every_file_that_the_image_copies_exists_and_is_not_ignored() -> None:
    copied = re.findall(r"^COPY (\S+) ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    kept = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), flags=re.MULTILINE)
    assert sorted(copied) == sorted(kept)
    assert [path for path in copied if not (ROOT / path).exists()] == []


def test_compose_understands_its_file() -> None:
    docker = shutil.which("docker")
    if docker is None:
        pytest.skip("there is no docker command")
    known = subprocess.run([docker, "compose", "version"], capture_output=True, check=False)
    if known.returncode != 0:
        pytest.skip("this docker has no compose")
    command = [docker, "compose", "config", "--format", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    assert set(services) == {"redis", "web", "worker"}
    assert all("healthcheck" in service for service in services.values())
