"""The system checks: each mistake in the settings is reported with its remedy."""

import re
from pathlib import Path
from unittest import mock

import pytest
from celery import Celery
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.test import override_settings

from project.celery import app as celery_app
from realtime import deployment
from realtime.checks import check_celery

ROOT = Path(__file__).resolve().parents[2]
PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"


def found(**settings):
    with override_settings(**settings):
        return {each.id: each for each in run_checks(tags=["realtime"])}


def layer(backend=PUBSUB, **config):
    return {"default": {"BACKEND": backend, "CONFIG": config}}


def test_this_project_passes_all_checks():
    assert found() == {}


def test_a_wrong_key_of_the_setting_is_an_error():
    errors = found(REALTIME={"MAX_HISTORY_EVENT": 5})
    assert set(errors) == {"realtime.E001"}
    assert "did you mean 'MAX_HISTORY_EVENTS'?" in errors["realtime.E001"].msg


@pytest.mark.parametrize(
    "layers",
    [
        {},
        layer(hosts=["redis://127.0.0.1:6379/0"]),
        layer(hosts=[{"address": "redis://127.0.0.1:6379/0"}], prefix="mine"),
        layer(serializer_format="msgpack"),
        {"other": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    ],
)
def test_a_layer_that_can_receive_events_passes(layers):
    assert found(CHANNEL_LAYERS=layers) == {}


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        (layer("channels_redis.core.RedisChannelLayer"), "must be"),
        (layer("channels.layers.InMemoryChannelLayer"), "must be"),
        (layer(symmetric_encryption_keys=["k"]), "must not encrypt"),
        (layer(serializer_format="json"), "msgpack"),
        (layer(hosts=["redis://a", "redis://b"]), "must have one host"),
    ],
)
def test_a_layer_that_cannot_receive_events_is_an_error(layers, text):
    errors = found(CHANNEL_LAYERS=layers)
    assert set(errors) == {"realtime.E002"}
    assert text in errors["realtime.E002"].msg
    assert "CHANNEL_LAYER" in errors["realtime.E002"].hint


def test_the_layer_of_the_setting_is_the_one_that_is_checked():
    layers = {
        "default": {"BACKEND": "channels_redis.core.RedisChannelLayer"},
        "realtime": {"BACKEND": PUBSUB},
    }
    assert found(CHANNEL_LAYERS=layers, REALTIME={"CHANNEL_LAYER": "realtime"}) == {}


def test_the_memory_store_works_with_any_layer():
    memory = {"STORE": "realtime.store.memory.MemoryStore"}
    assert found(CHANNEL_LAYERS=layer("a.layer.Of.MyOwn"), REALTIME=memory) == {}


def test_a_missing_owner_middleware_is_a_warning():
    warnings = found(MIDDLEWARE=[])
    assert set(warnings) == {"realtime.W001"}
    assert "realtime.middleware.OwnerMiddleware" in warnings["realtime.W001"].hint


def warnings(monkeypatch, conf, **task):
    # Leave out the tasks that other modules share with every app.
    monkeypatch.setattr("celery._state._on_app_finalizers", set())
    app = Celery("checked", broker="redis://", backend="redis://", set_as_current=False)
    app.conf.update(conf)

    @app.task(name="a.task", shared=False, **task)
    def a_task():
        pass

    monkeypatch.setattr("realtime.checks.current_app", app)
    return {found.id: found.msg for found in check_celery()}


def visible(**options):
    return {"broker_transport_options": options}


LATE = {"task_acks_late": True}


@pytest.mark.parametrize(
    ("conf", "task", "ids"),
    [
        ({}, {}, set()),
        ({"task_reject_on_worker_lost": True}, {}, {"realtime.W002"}),
        ({"task_reject_on_worker_lost": True} | LATE, {}, set()),
        ({}, {"reject_on_worker_lost": True}, {"realtime.W002"}),
        ({}, {"reject_on_worker_lost": True, "acks_late": True}, set()),
        (LATE, {"reject_on_worker_lost": True}, set()),
        ({"task_time_limit": 600} | LATE | visible(visibility_timeout=300), {}, {"realtime.W003"}),
        ({"task_time_limit": 600} | visible(visibility_timeout=300), {}, set()),
        ({"task_time_limit": 7200} | LATE, {}, {"realtime.W003"}),
        ({"task_time_limit": 7200, "broker_url": "amqp://"} | LATE, {}, set()),
        ({}, {"acks_late": True, "time_limit": 3600}, {"realtime.W003"}),
        ({}, {"acks_late": True, "time_limit": 3599}, set()),
        (visible(visibility_timeout=60), {}, {"realtime.W005"}),
        (visible(visibility_timeout=60, unacked_restore_throttle=1), {}, set()),
        ({"result_backend": "rpc://"}, {}, {"realtime.W004"}),
        ({"result_backend": "db+sqlite://"}, {}, set()),
        ({"result_backend": None}, {}, set()),
        ({"result_backend": "no.such:Backend"}, {}, set()),
    ],
)
def test_contradicting_celery_settings_are_reported(monkeypatch, conf, task, ids):
    assert set(warnings(monkeypatch, conf, **task)) == ids


def test_the_message_names_the_contradicting_task(monkeypatch):
    assert "a.task" in warnings(monkeypatch, {}, reject_on_worker_lost=True)["realtime.W002"]
    late = {"acks_late": True, "time_limit": 9999}
    assert "9999 s (a.task)" in warnings(monkeypatch, {}, **late)["realtime.W003"]


@pytest.mark.parametrize("key", ["CAN_SUBSCRIBE", "REDACT"])
@pytest.mark.parametrize("path", ["no.such.function", "realtime.conf.nothing", "name", "os.sep"])
def test_a_path_that_names_no_function_is_an_error(key, path):
    errors = found(REALTIME={key: path})
    assert set(errors) == {"realtime.E003"}
    assert f"REALTIME[{key!r}]: {path!r}" in errors["realtime.E003"].msg


# Only with --deploy

SAFE = {
    "DEBUG": False,
    "ALLOWED_HOSTS": ["example.com"],
    "CSRF_TRUSTED_ORIGINS": ["https://*.example.com"],
    "SESSION_COOKIE_SECURE": True,
    "CSRF_COOKIE_SECURE": True,
    "REALTIME": {"ALLOWED_ORIGINS": ["https://app.example.com"]},
}


def dangers(led=True, **settings):
    with (
        override_settings(**SAFE | settings),
        mock.patch("realtime.checks._has_leader", mock.AsyncMock(side_effect=[led])),
    ):
        checks = run_checks(tags=["realtime"], include_deployment_checks=True)
    return [each.id for each in checks]


def test_safe_settings_pass():
    assert dangers() == []


def test_a_store_without_a_leader_is_reported_and_an_absent_store_is_not():
    assert dangers(led=False) == ["realtime.W013"]
    assert dangers(led=ConnectionError()) == []


@pytest.mark.parametrize(
    ("settings", "ids"),
    [
        ({"DEBUG": True}, ["realtime.E010"]),
        ({"ALLOWED_HOSTS": ["example.com", "*"]}, ["realtime.E011"]),
        ({"REALTIME": {"ALLOWED_ORIGINS": ["http://app.example.com"]}}, ["realtime.E012"]),
        ({"REALTIME": {"ALLOWED_ORIGINS": ["https://*"]}}, ["realtime.E012"]),
        ({"REALTIME": {"ALLOWED_ORIGINS": ["*"]}}, ["realtime.E012"]),
        ({"CSRF_TRUSTED_ORIGINS": ["http://example.com"]}, ["realtime.E012"]),
        ({"REALTIME": {"TOKEN_AGE": 901}}, ["realtime.W010"]),
        ({"REALTIME": {"TOKEN_AGE": 900}}, []),
        ({"REALTIME": {"REDIS_URL": "redis://redis.example:6379/0"}}, ["realtime.W011"]),
        ({"REALTIME": {"REDIS_URL": "redis://user@10.0.0.5:6379/0"}}, ["realtime.W011"]),
        ({"REALTIME": {"REDIS_URL": "redis://user:word@10.0.0.5:6379/0"}}, []),
        ({"REALTIME": {"REDIS_URL": "redis://[::1]:6379/0"}}, []),
        ({"REALTIME": {"REDIS_URL": "unix:///run/redis.sock"}}, []),
        ({"SESSION_COOKIE_SECURE": False}, ["realtime.W012"]),
        ({"CSRF_COOKIE_SECURE": False}, ["realtime.W012"]),
    ],
)
def test_every_dangerous_setting_is_reported(settings, ids):
    assert dangers(**settings) == ids


def test_serve_refuses_settings_that_expose_the_site():
    too_short = "a1b2c3d4"
    exposing = {"DEBUG": True, "SECRET_KEY": too_short, "ALLOWED_HOSTS": ["*"]}
    with override_settings(**SAFE | exposing):
        refused = [danger.message for danger in deployment.dangers() if danger.refused]
        with pytest.raises(CommandError) as raised:
            call_command("serve")
    assert [message.id for message in refused] == [
        "realtime.E010",
        "security.W009",
        "realtime.E011",
    ]
    assert all(message.hint in str(raised.value) for message in refused)


@pytest.mark.parametrize("key", ["accept_content", "result_accept_content"])
def test_a_celery_that_accepts_pickles_is_dangerous(key, monkeypatch):
    monkeypatch.setitem(celery_app.conf, key, ["json", "pickle"])
    assert dangers() == ["realtime.E013"]


def test_a_celery_that_accepts_what_kombu_allows_by_default_is_not_dangerous(monkeypatch):
    monkeypatch.setitem(celery_app.conf, "accept_content", None)
    assert dangers() == []


def test_each_check_has_its_own_id_which_the_docs_explain() -> None:
    meant: dict[str, list[str]] = {}
    for path in sorted((ROOT / "realtime").rglob("*.py")):
        for function, ident in re.findall(
            r"^(?:async )?def (\w+)|\bid=\"(realtime\.\w+)\"", path.read_text(), re.MULTILINE
        ):
            if function:
                place = f"{path.parent.name}.{function}"
            else:
                meant.setdefault(ident, []).append(place)
    assert {ident: set(places) for ident, places in meant.items() if len(set(places)) > 1} == {}
    docs = re.findall(
        r"^\| `(realtime\.\w+)` \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE
    )
    assert sorted(docs) == sorted(meant)
