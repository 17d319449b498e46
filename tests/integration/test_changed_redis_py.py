"""The store where redis-py is not as it was: its documented pipelines send in place of ours."""

import subprocess
import sys

import pytest

from project.processes import ROOT

pytestmark = pytest.mark.integration

STORE = """
import os, sys
from tests.renamed import rename
rename(*sys.argv[1:])
import django
django.setup()
import redis
from django.conf import settings
from realtime.core.change import Change
from realtime.core.topics import Topic
from realtime.store import get_store
from realtime.store.direct import PooledConnections

store = get_store()
client = redis.Redis.from_url(settings.REALTIME["REDIS_URL"])
assert store.accept(Change(task_id="t", state="PENDING", owner="42")) == 1
assert isinstance(store._patient.connections, PooledConnections)
client.script_flush()
assert store.send(Change(task_id="t", state="RECEIVED"))() == 2
for kill in (False, True):
    if kill:
        client.client_kill_filter(_type="normal", skipme=True)
    changes = [Change(task_id=f"{kill}-{n}", state="PENDING", owner="42") for n in range(50)]
    assert store.send_all(changes)() == [1] * 50
    assert store.status("t").state == "RECEIVED"
assert len(store.statuses(Topic("user", "42"))) == 101
client.set("realtime:task:other", "no hash")
try:
    store.accept(Change(task_id="other", state="PENDING"))
except redis.exceptions.ResponseError:
    print("refused")
store.disconnect()
"""


@pytest.mark.parametrize("name", ["send_packed_command", "read_response", "make_connection"])
def test_where_redis_py_has_changed_its_pipelines_send_and_one_line_is_logged(clean_redis, name):
    env = {"PATH": "", "DJANGO_SETTINGS_MODULE": "tests.settings", "REDIS_URL": clean_redis}
    command = [sys.executable, "-c", STORE, "redis", name, f"new_{name}"]
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["refused"]
    lines = [line for line in done.stderr.splitlines() if "library_unknown" in line]
    assert len(lines) == 1
    assert lines[0].startswith("library_unknown module=direct library=redis ")
    assert name in lines[0]
