"""Whether a process reports that it accepts new connections."""

import json

import pytest
from django.conf import settings
from django.test import RequestFactory, override_settings

from realtime.store import get_store
from realtime.web import views
from realtime.web.hub import get_hub
from realtime.web.registry import process


@pytest.fixture
def request_readyz():
    """Return a function that requests readyz, with a store that always answers."""
    given = {"STORE": "realtime.store.memory.MemoryStore"}
    with override_settings(REALTIME={**settings.REALTIME, **given}):
        yield lambda: views.readyz(RequestFactory().get("/realtime/readyz"))


async def test_a_process_that_receives_is_ready(request_readyz):
    assert (await request_readyz()).status_code == 200


async def test_it_reports_whether_a_process_reconciles(request_readyz, caplog):
    assert (await request_readyz()).content.startswith(b"ready, but no process reconciles")
    assert "not_reconciled" in caplog.text
    get_store().elect("some process", 60)
    answer = await request_readyz()
    assert (answer.status_code, answer.content) == (200, b"ready\n")


async def test_a_process_that_receives_nothing_is_not_ready_until_it_does_again(request_readyz):
    hub = get_hub()
    hub.link.is_receiving = False
    answer = await request_readyz()
    assert answer.status_code == 503
    assert json.loads(answer.content)["error"]["code"] == "internal"
    hub.link.is_receiving = True
    assert (await request_readyz()).status_code == 200


async def test_a_process_that_is_about_to_end_is_not_ready(request_readyz, monkeypatch):
    monkeypatch.setattr(process, "is_draining", True)
    assert (await request_readyz()).status_code == 503
