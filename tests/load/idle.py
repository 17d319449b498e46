"""Thousands of sockets, and nothing happens."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterator
from importlib import import_module

from realtime.core.change import Change
from realtime.store import get_store
from tests.client.watcher import Watcher

from .crowd import KIB, connected
from .report import Row
from .stage import LoadStage, cpu_over


def idle_sockets(stage: LoadStage) -> Iterator[Row]:
    """5,000 sockets on one process: first by token, then signed in."""
    count, duration = (5000, 120.0) if stage.long else (100, 2.0)
    yield from _measure(stage, count, min(duration, 30.0), signed_in=False)
    yield from _measure(stage, count, duration, signed_in=True)


def _measure(stage: LoadStage, count: int, duration: float, *, signed_in: bool) -> Iterator[Row]:
    who = "signed in" if signed_in else "by token"
    key = "c2" if signed_in else "c1"
    sessions = sign_in(stage, count // 10) if signed_in else [(0, "")]
    clients = []
    for number in range(count):
        user, session = sessions[number % len(sessions)]
        task = str(uuid.uuid4())
        get_store().accept(Change(task_id=task, state="PENDING", owner=str(user or "")))
        topics: dict[str, list[str]] = {f"task:{task}": [task]}
        if user:
            topics["user:me"] = []
        clients.append((f"client-{number}", topics, session))
    with stage.serving() as [web]:
        made = [
            Watcher(name, [web.port], topics, stage.rng, session=session)
            for name, topics, session in clients
        ]
        with connected(stage, made[:1]):
            time.sleep(1.0)
            memory = web.rss()
            began = time.monotonic()
            with connected(stage, made[1:], at_once=200):
                took = time.monotonic() - began
                each = (web.rss() - memory) / (count - 1) / KIB
                time.sleep(3.0)
                queries, since = web.probe()["queries"], time.monotonic()
                cpu = cpu_over(web, duration)
                rate = (web.probe()["queries"] - queries) / (time.monotonic() - since)
                after = (web.rss() - memory) / (count - 1) / KIB
                closes = Counter(code for client in made for code in client.codes)
                standing = sum(client.stands for client in made)
    size = f"{count:,} {who}, {duration:g} s"
    yield Row(
        f"{key}a",
        f"idle sockets, {who}: closed by the server",
        size,
        f"{sum(closes.values())} closed, {standing:,} open",
        "0",
        not closes and standing == count,
    )
    yield Row(
        f"{key}b",
        f"idle sockets, {who}: memory of each",
        size,
        f"{each:.1f} KiB, {after:.1f} KiB at the end",
    )
    yield Row(
        f"{key}c",
        f"idle sockets, {who}: the server's CPU and queries",
        size,
        f"{cpu:.1%} of a core, {rate:.0f} queries/s",
    )
    yield Row(
        f"{key}d",
        f"idle sockets, {who}: rate of connecting and subscribing",
        size,
        f"{(count - 1) / took:.0f} per second, {sum(client.failures for client in made)} failed",
    )


def sign_in(stage: LoadStage, count: int) -> list[tuple[int, str]]:
    """Users, and a session of each: (primary key, session key)."""
    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.auth.models import User

    engine = import_module(settings.SESSION_ENGINE)
    prefix = uuid.uuid4().hex[:8]
    User.objects.bulk_create(
        User(username=f"{prefix}-{number}", password="!") for number in range(count)
    )
    found = []
    for user in User.objects.filter(username__startswith=prefix):
        session = engine.SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.create()
        found.append((user.pk, session.session_key))
    return found
