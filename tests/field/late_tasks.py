"""A task that is acknowledged when it has ended."""

from __future__ import annotations

from celery import shared_task

from tests.sample_tasks import hold


@shared_task(acks_late=True)
def hold_late(path: str) -> str:
    """Run until the file is there."""
    return hold(path)
