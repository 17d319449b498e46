"""A worker's lease: renewed after every error, and a new one for each start."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.test import override_settings

from realtime.store import get_store
from realtime.worker import leases
from realtime.worker.leases import Lease
from tests.until import until


@pytest.fixture
def lease(monkeypatch):
    monkeypatch.setattr(leases, "RENEWAL", 0.01)
    given = {"STORE": "realtime.store.memory.MemoryStore"}
    with override_settings(REALTIME={**settings.REALTIME, **given}):
        made = Lease()
        yield made
        made.end()


def renewals(monkeypatch, renew):
    """Call `renew` in place of the store; return the list of renewed leases."""
    count = []

    def counted(worker, seconds):
        count.append(worker)
        renew()

    monkeypatch.setattr(get_store(), "renew_lease", counted)
    return count


def test_a_renewal_that_raises_anything_does_not_end_the_renewals(lease, monkeypatch, caplog):
    def renew():
        raise ValueError("settings")

    count = renewals(monkeypatch, renew)
    lease.begin("w")
    assert until(lambda: len(count) > 3)
    assert caplog.text.count("lease_not_renewed") == 1


def test_each_start_has_a_lease_of_its_own_and_only_the_last_is_renewed(lease, monkeypatch):
    count = renewals(monkeypatch, lambda: None)
    lease.begin("w")
    first = lease.name
    lease.begin("w")
    assert lease.name != first
    seen = len(count)
    assert until(lambda: count[seen:].count(lease.name) > 3)
    # One renewal may have been in progress.
    assert count[seen:].count(first) <= 1
    lease.end()
