"""Fixtures that more than one folder of tests uses.

The services are real: a Redis server, a prefork worker and the web server, each a process
of its own. Each pytest-xdist worker has its own set.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import hypothesis
import kombu.pools
import pytest
import redis
from django.test import override_settings

from project.celery import app as celery_app
from project.processes import Process, free_port, lock_environment
from project.redis_server import embedded_redis
from project.run import page_answers, web_command, worker_answers, worker_command
from realtime.worker.publisher import publisher
from tests.client.octets import HOST
from tests.people import People, make_people
from tests.raw import DEADLINE, Site, Web
from tests.shell import Shell

#: Seconds that a process has to become ready, on a machine that is busy.
READY = 120.0

# The time of an example depends on the machine, not on the code.
hypothesis.settings.register_profile(
    "shared", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("shared")


def pytest_configure() -> None:
    """Keep `.venv` as it is until the tests are over."""
    lock_environment()


#: The slowest files, slowest first: a slow file that begins last would run alone at the end.
SLOWEST = (
    "integration/test_faults_short.py",
    "browser/test_page.py",
    "field/test_pages.py",
    "integration/test_server.py",
    "integration/test_run.py",
    "field/test_store.py",
    "field/test_sessions.py",
    "integration/test_pools.py",
    "field/test_odd_projects.py",
    "integration/test_policy.py",
    "attacks/test_handshakes.py",
    "integration/test_worker.py",
    "integration/test_load_short.py",
    "test_benchmarks.py",
    "integration/test_reconciler.py",
    "field/test_waiting.py",
    "unit/web/test_hub.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slowest files first; within them, and after them, the order stays random."""

    def place(item: pytest.Item) -> int:
        path = str(item.path)
        return next((n for n, name in enumerate(SLOWEST) if path.endswith(name)), len(SLOWEST))

    items.sort(key=place)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show the last lines of the service's processes with a failed test."""
    report = yield
    service = getattr(item, "funcargs", {}).get("service")
    if report.failed and isinstance(service, Service):
        for process in (service.web, service.worker):
            lines = [line[:300] for line in process.log().splitlines()[-40:]]
            report.sections.append((f"log of the {process.name}", "\n".join(lines)))
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each process whole files, so that a module's fixtures are made once."""
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


@pytest.fixture(autouse=True)
def _nothing_waits() -> Iterator[None]:
    """Changes that a test could not send to its Redis must not reach the store of the next test."""
    yield
    publisher.read_replies()
    if thread := publisher._queue_thread:
        publisher.reset()
        thread.join()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[str]:
    """A real Redis for this session's tests. Use `clean_redis` to have it empty.

    With REDIS_URL in the environment it is a database of that server.
    """
    with session_redis(tmp_path_factory.mktemp("redis"), worker_id, which=0) as url:
        yield url


@pytest.fixture
def clean_redis(redis_url: str) -> Iterator[str]:
    """The session's Redis, emptied; Django's settings and the Celery app here use it."""
    flush(redis_url)
    with using_redis(redis_url):
        yield redis_url


@contextmanager
def session_redis(directory: Path, worker_id: str, *, which: int) -> Iterator[str]:
    """An empty Redis: embedded, or the databases from 8 up of the server that is given."""
    if given := os.environ.get("REDIS_URL"):
        worker = int(worker_id.removeprefix("gw")) if worker_id != "master" else 0
        url = urlunsplit(urlsplit(given)._replace(path=f"/{8 + 2 * worker + which}"))
        flush(url)
        yield url
        flush(url)
        return
    server, url = embedded_redis(directory, keep=False)
    try:
        yield url
    finally:
        server.stop()


def flush(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.flushdb()


@contextmanager
def using_redis(url: str) -> Iterator[None]:
    """Let this process's Django settings and its Celery app use the Redis at `url`."""
    layer = {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [{"address": url, "socket_timeout": None}]},
    }
    before = celery_app.conf.broker_url
    with override_settings(
        REDIS_URL=url,
        # What a test publishes itself must arrive, on a machine that is busy too.
        REALTIME={"REDIS_URL": url, "PUBLISH_TIMEOUT": 5.0},
        CHANNEL_LAYERS={"default": layer},
        CELERY_BROKER_URL=url,
        CELERY_RESULT_BACKEND=url,
    ):
        point_celery_at(url)
        try:
            yield
        finally:
            point_celery_at(before)


def point_celery_at(url: str) -> None:
    if (backend := celery_app._backend_cache) is not None:
        # A result unsubscribes when it is collected, which may be after its Redis is gone.
        backend.result_consumer.stop()
        backend.result_consumer._pubsub = None
    # One backend for all threads, so that the line above reaches it.
    celery_app.conf.update(broker_url=url, result_backend=url, result_backend_thread_safe=True)
    # It keeps its connections and its backend; a Celery app is not meant to move.
    kombu.pools.reset()
    celery_app._pool = None
    celery_app.amqp._producer_pool = None
    celery_app._backend_cache = None
    celery_app._local = threading.local()


@dataclass
class Service(Site):
    """A running service, with its processes."""

    redis_url: str
    redis: Process | None  #: None for the session's service
    worker: Process
    web: Process
    node: str  #: the worker's name
    shell: Shell

    def run_code(self, code: str) -> str:
        """Run code in another process of the same project; return what it printed."""
        return self.shell.run(code)

    def wait_ready(self) -> None:
        """Return when both answer, at the start and after a restart."""
        self.web.wait_ready(lambda: page_answers(HOST, self.port), timeout=READY)
        self.worker.wait_ready(lambda: worker_answers(self.node, self.redis_url), timeout=READY)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Service]:
    """The service, with two prefork children, for all tests that do not disturb it.

    Django's settings and the Celery app here use its Redis, so `task.delay()` reaches it.
    """
    with (
        session_redis(tmp_path_factory.mktemp("redis"), worker_id, which=1) as url,
        using_redis(url),
    ):
        running = launch(tmp_path_factory.mktemp("service"), url, None, {})
        yield running
        stop(running)


@pytest.fixture(scope="session")
def people(service: Service) -> People:
    """Users of the session's service."""
    return make_people(service)


@pytest.fixture
def start_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Service]]:
    """Start a service of the test's own: `start_service(WORKERS="4", DJANGO_DEBUG="1")`.

    It has a Redis of its own, and everything about it may be killed, stopped and restarted.
    The keywords are its environment. Until the test ends, Django's settings and the Celery
    app here use its Redis.
    """
    with ExitStack() as stack:

        def start(**env: str) -> Service:
            server, url = embedded_redis(tmp_path_factory.mktemp("redis"), keep=False)
            stack.callback(server.stop)
            stack.enter_context(using_redis(url))
            running = launch(tmp_path_factory.mktemp("service"), url, server, env)
            stack.callback(stop, running)
            return running

        yield start


@pytest.fixture
def start_web(service: Service) -> Iterator[Callable[..., Web]]:
    """Start a web process: `start_web(SLOW_TIMEOUT=2.0)` with these keys of REALTIME.

    It shares the session's Redis, database and worker. `django` has settings of Django.
    """
    with web_starter(service) as start:
        yield start


@contextmanager
def web_starter(service: Service) -> Iterator[Callable[..., Web]]:
    """The same for a fixture that is shared: the web processes end with the block."""
    with ExitStack() as stack:

        def start(
            command: list[str] | None = None,
            *,
            django: dict[str, Any] | None = None,
            **settings: Any,
        ) -> Web:
            port = free_port()
            env = {
                **service.web.env,
                "PORT": str(port),
                "DJANGO_SETTINGS_MODULE": "tests.settings",
                "REALTIME": json.dumps({"MAX_CONNECTIONS_PER_ADDRESS": 10_000, **settings}),
                "DJANGO": json.dumps(django or {}),
            }
            given = [part.replace("{port}", str(port)) for part in command or web_command()]
            process = Process("web", given, env=env)
            stack.callback(process.kill)
            process.start()
            process.wait_ready(lambda: page_answers(HOST, port), timeout=READY)
            return Web(port, service.data_dir, process)

        yield start


@pytest.fixture
def dial() -> Iterator[Callable[..., socket.socket]]:
    """Open a TCP connection to a web process; `window` is the size of its receive buffer."""
    with ExitStack() as stack:

        def connected(web: Web, *, window: int = 0) -> socket.socket:
            made = stack.enter_context(socket.socket())
            if window:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
            made.settimeout(DEADLINE)
            made.connect((HOST, web.port))
            return made

        yield connected


def launch(data_dir: Path, redis_url: str, server: Process | None, env: dict[str, str]) -> Service:
    port = free_port()
    node = f"worker-{port}@tests"
    full = {
        **os.environ,
        "DATA_DIR": str(data_dir),
        "REDIS_URL": redis_url,
        "HOST": HOST,
        "PORT": str(port),
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "CELERY_IMPORTS": "tests.sample_tasks",
        **env,
    }
    worker = Process("worker", worker_command(node, int(env.get("WORKERS", "2"))), env=full)
    web = Process("web", web_command(), env=full)
    running = Service(
        port,
        data_dir,
        redis_url=redis_url,
        redis=server,
        worker=worker,
        web=web,
        node=node,
        shell=Shell(full),
    )
    try:
        worker.start()
        web.start()
        running.wait_ready()
    except BaseException:
        stop(running)
        raise
    return running


def stop(running: Service) -> None:
    # Killed: nothing is left to be finished, and a worker takes two seconds to end by itself.
    running.shell.close()
    running.web.kill()
    running.worker.kill()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Warn if the tests with a browser were skipped."""
    skipped = [
        report
        for report in terminalreporter.stats.get("skipped", [])
        if "browser" in getattr(report, "keywords", {})
    ]
    if skipped:
        terminalreporter.section("THE BROWSER TESTS DID NOT RUN", sep="!", red=True, bold=True)
        terminalreporter.line(f"{len(skipped)} tests were skipped: {skipped[0].longrepr}")
