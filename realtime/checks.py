"""System checks of the settings, Celery's too."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator, Sequence
from typing import Any, Final

from asgiref.sync import async_to_sync
from celery import current_app
from celery.app import backends
from celery.backends.base import DisabledBackend
from django.conf import settings as django_settings
from django.core import checks
from django.utils.module_loading import import_string

from .conf import conf
from .core.redelivery import Redelivery
from .deployment import dangers
from .exceptions import SettingsError
from .results import is_readable
from .store import get_store
from .web.checks import OWNER_MIDDLEWARE, PUBSUB_LAYER

#: The middleware that finds the user of a request.
_USER_MIDDLEWARE: Final = (
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
)
#: Seconds in which the store must answer.
_STORE_TIMEOUT: Final = 2.0


@checks.register("realtime")
def check_settings(**_kwargs: Any) -> Sequence[checks.CheckMessage]:
    """Check the keys of ``REALTIME``."""
    try:
        settings = conf()
    except SettingsError as error:
        return [checks.Error(str(error), id="realtime.E001")]
    found: list[checks.CheckMessage] = []
    for key in ("CAN_SUBSCRIBE", "OWNER", "REDACT"):
        path = getattr(settings, key)
        try:
            function = import_string(path) if path else None
            usable = not path or callable(function)
        except ImportError:
            usable = False
        kind = "a function"
        if usable and key == "OWNER" and inspect.iscoroutinefunction(function):
            usable, kind = False, "a plain function, without async"
        if not usable:
            problem = f"REALTIME[{key!r}]: {path!r} is not the path of {kind}."
            found.append(checks.Error(problem, id="realtime.E003"))
    return found


@checks.register("realtime")
def check_layer(**_kwargs: Any) -> Sequence[checks.CheckMessage]:
    """Check that the channel layer can receive what the service publishes."""
    try:
        alias, store = conf().CHANNEL_LAYER, conf().STORE
    except SettingsError:
        return []
    layer = getattr(django_settings, "CHANNEL_LAYERS", {}).get(alias)
    if layer is None or not store.endswith(".RedisStore"):
        return []
    config = layer.get("CONFIG", {})
    problem = ""
    if layer["BACKEND"] != PUBSUB_LAYER:
        problem = f"must be {PUBSUB_LAYER!r}, it is {layer['BACKEND']!r}"
    elif config.get("symmetric_encryption_keys"):
        problem = "must not encrypt: the publishing script cannot"
    elif config.get("serializer_format", "msgpack") != "msgpack":
        problem = "must use the serializer format 'msgpack'"
    elif len(config.get("hosts", ())) > 1:
        problem = "must have one host, the server of REALTIME['REDIS_URL']"
    if not problem:
        return []
    remedy = "Change it, or name another layer in REALTIME['CHANNEL_LAYER']."
    return [checks.Error(f"CHANNEL_LAYERS[{alias!r}] {problem}.", hint=remedy, id="realtime.E002")]


@checks.register("realtime")
def check_celery(**_kwargs: Any) -> Sequence[checks.CheckMessage]:
    """Check that Celery's settings about lost workers do not contradict each other."""
    return [*_useless_rejects(), *_early_redeliveries(), *_silent_backends()]


def _useless_rejects() -> Iterator[checks.CheckMessage]:
    celery = current_app.conf
    if celery.task_reject_on_worker_lost and not celery.task_acks_late:
        names = "for all tasks"
    else:
        # A task that sets neither option has those of the settings.
        tasks = current_app.tasks.values()
        names = ", ".join(t.name for t in tasks if t.reject_on_worker_lost and not t.acks_late)
    if names:
        yield checks.Warning(
            f"Celery's task_reject_on_worker_lost has no effect without task_acks_late: {names}.",
            hint="Set both, for tasks that may run twice, or neither.",
            id="realtime.W002",
        )


def _early_redeliveries() -> Iterator[checks.CheckMessage]:
    celery = current_app.conf
    options = celery.broker_transport_options
    redelivery = Redelivery.from_options(options)
    visibility, sweep = redelivery.visibility_timeout, redelivery.search_interval
    on_redis = str(celery.broker_url).startswith(("redis", "sentinel"))
    if not visibility or not (on_redis or options.get("visibility_timeout")):
        return  # such a broker notices that a worker is gone
    limits = {"task_time_limit": celery.task_time_limit} if celery.task_acks_late else {}
    limits |= {task.name: task.time_limit for task in current_app.tasks.values() if task.acks_late}
    for name, limit in limits.items():
        if limit and visibility <= limit:
            yield checks.Warning(
                f"Celery's visibility_timeout of {visibility} s is not above the time limit of"
                f" {limit} s ({name}): a task that still runs is delivered again.",
                hint="Raise broker_transport_options['visibility_timeout'].",
                id="realtime.W003",
            )
            break
    if visibility < sweep:
        yield checks.Warning(
            f"Celery's visibility_timeout of {visibility} s is shorter than the {sweep} s after"
            " which a worker searches for overdue messages.",
            hint="Set broker_transport_options['unacked_restore_throttle'] = 1.",
            id="realtime.W005",
        )


def _silent_backends() -> Iterator[checks.CheckMessage]:
    celery = current_app
    try:
        url = celery.backend_cls or celery.conf.result_backend
        found: Any = backends.by_url(url, celery.loader)
    except Exception:  # noqa: BLE001 - Celery itself reports a wrong setting
        return
    kind = found[0]
    if kind is not DisabledBackend and not is_readable(kind):
        yield checks.Warning(
            f"The result backend {kind.__name__} cannot be queried for endings, so an ending that"
            " no signal reported, or whose record has expired, stays unknown.",
            hint="Use Redis or another key-value store, or a database.",
            id="realtime.W004",
        )


@checks.register("realtime")
def check_middleware(**_kwargs: Any) -> Sequence[checks.CheckMessage]:
    """Check that tasks get their owner."""
    installed = list(django_settings.MIDDLEWARE)
    if OWNER_MIDDLEWARE not in installed:
        problem = "Tasks started by requests belong to nobody, so only staff see them."
        remedy = f"Add {OWNER_MIDDLEWARE!r} to MIDDLEWARE, after AuthenticationMiddleware."
    elif late := _after_owner(installed):
        problem = (
            f"OwnerMiddleware comes before {late[0].rpartition('.')[2]}, so it does not know the"
            " user: tasks started by requests belong to nobody."
        )
        remedy = f"Move {OWNER_MIDDLEWARE!r} below it in MIDDLEWARE."
    else:
        return []
    return [checks.Warning(problem, hint=remedy, id="realtime.W001")]


def _after_owner(installed: Sequence[str]) -> list[str]:
    """Return the middleware that finds the user but comes after the OwnerMiddleware."""
    following = installed[installed.index(OWNER_MIDDLEWARE) :]
    return [each for each in _USER_MIDDLEWARE if each in following]


# With `manage.py check --deploy` only.


@checks.register("realtime", deploy=True)
def check_deployment(**_kwargs: Any) -> Sequence[checks.CheckMessage]:
    """Check that no setting is dangerous; those that Django itself reports are left to Django."""
    try:
        found = [danger.message for danger in dangers()]
    except SettingsError:
        return []
    return [message for message in found if str(message.id).startswith("realtime.")]


@checks.register("realtime", deploy=True)
def check_reconciler(**_kwargs: Any) -> Sequence[checks.CheckMessage]:
    """Check that some process reconciles, if the store answers."""
    try:
        has_leader = async_to_sync(_has_leader)()
    except Exception:  # noqa: BLE001 - a check may run where there is no store
        return []
    if has_leader:
        return []
    return [
        checks.Warning(
            "No process reconciles: tasks whose worker dies, and endings that nobody published,"
            " are not found.",
            hint="Start a web process that serves realtime.routing, and run this check again.",
            id="realtime.W013",
        )
    ]


async def _has_leader() -> bool:
    store = get_store()
    try:
        async with asyncio.timeout(_STORE_TIMEOUT):
            return await store.has_leader()
    finally:
        await store.close()
