"""`make run`: Redis, a Celery worker and the web server, under one parent.

HOST, PORT, REDIS_URL, WORKERS and DATA_DIR in the environment configure it. The command ends on
Ctrl-C, on SIGTERM, and when one of its children ends. Its children end with it, also when it is
killed.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import http.client
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from celery import Celery

from project.launch import die_with_parent
from project.processes import ROOT, Process, ProcessError, lock_environment
from project.redis_server import NoRedisError, connection_problem, embedded_redis

COLOURS = {"redis": "31", "worker": "32", "web": "36", "run": "1"}
#: The signals that end this command.
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class RunError(Exception):
    """The command cannot run; the text names the reason and the remedy."""


class Stop(BaseException):
    """A signal ends the command. Not an Exception, so that no handler of errors catches it."""


@dataclass(frozen=True)
class Options:
    """The options from the environment."""

    host: str
    port: int
    workers: int
    redis_url: str | None


def read_options(environment: Mapping[str, str]) -> Options:
    """Read HOST, PORT, WORKERS and REDIS_URL; an empty value counts as missing.

    Raises RunError for a value that is not a number in its range.
    """
    return Options(
        host=environment.get("HOST") or "127.0.0.1",
        port=_number(environment, "PORT", default=8000, least=0, most=65535),
        workers=_number(environment, "WORKERS", default=2, least=1, most=256),
        redis_url=environment.get("REDIS_URL") or None,
    )


def _number(
    environment: Mapping[str, str], name: str, *, default: int, least: int, most: int
) -> int:
    given = environment.get(name) or str(default)
    if not given.isdecimal() or not least <= int(given) <= most:
        raise RunError(f"{name}={given}: must be a whole number from {least} to {most}.")
    return int(given)


def worker_command(node: str, workers: int) -> list[str]:
    """Return the command of a prefork worker, without gossip and mingle, which delay its start."""
    command = [sys.executable, "-m", "celery", "-A", "project.celery:app", "worker"]
    command += ["--pool", "prefork", "--concurrency", str(workers), "--hostname", node]
    return [*command, "--loglevel", "INFO", "--without-gossip", "--without-mingle"]


def web_command() -> list[str]:
    """Return the web server's command; HOST and PORT are in its environment."""
    return [sys.executable, "-m", "project.web"]


def page_answers(host: str, port: int) -> bool:
    """Return whether the server answers a request for the page."""
    connection = http.client.HTTPConnection(reachable(host), port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def worker_answers(node: str, redis_url: str) -> bool:
    """Return whether the worker answers a ping through the broker."""
    # Unlike a line in the worker's log, a reply shows that both directions work.
    with Celery(broker=redis_url, set_as_current=False) as app:
        try:
            return bool(app.control.ping(destination=[node], timeout=0.25))
        except app.connection_for_write().transport.connection_errors:
            return False


def reachable(host: str) -> str:
    """Return the address at which clients reach a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared only


def address(host: str, port: int) -> str:
    name = reachable(host)
    return f"http://{f'[{name}]' if ':' in name else name}:{port}/"


def usable_port(host: str, port: int) -> int:
    """Return the port for the web server; a free one if `port` is 0.

    Raises RunError if the server could not listen on it.
    """
    try:
        family, kind, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            # As the server does. Otherwise the port of a server that has just ended counts as used.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
            probe.listen()
            usable: int = probe.getsockname()[1]
            return usable
    except PermissionError:
        raise RunError(
            f"Port {port} needs privileges. Choose one from 1024: make run PORT=8000"
        ) from None
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise RunError(f"HOST={host} is not an address of this machine.") from None
        raise RunError(
            f"Port {port} on {host} is used by another program. "
            f"Stop that program, or choose another port: make run PORT={port + 1}"
        ) from None


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Lock DATA_DIR, so that two Redis servers never write the same file."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(data_dir, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise RunError(
            f"Another `make run` uses {data_dir}. Stop it, or choose another folder: "
            "make run DATA_DIR=…"
        ) from None
    finally:
        os.close(descriptor)


class Printer:
    """Writes all logs to one stream, with the name of its source before each line."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._colour = stream.isatty() and "NO_COLOR" not in os.environ
        self._lock = threading.Lock()

    def __call__(self, name: str, line: str) -> None:
        prefix = f"{name:<6} |"
        if self._colour:
            prefix = f"\x1b[{COLOURS[name]}m{prefix}\x1b[0m"
        with self._lock:
            try:
                print(prefix, line, file=self._stream, flush=True)
            except OSError:
                # Nothing reads the output any more (`make run | head`, a closed terminal).
                os.kill(os.getpid(), signal.SIGTERM)


def run(options: Options, on_line: Callable[[str, str], None]) -> None:
    """Start everything, print the address, and wait until one of the children ends.

    Raises ProcessError when a child ends, RunError if the command cannot start, and Stop after a
    signal. By then all children have ended.
    """
    with ExitStack() as stack:
        port = usable_port(options.host, options.port)
        data_dir = Path(os.environ.get("DATA_DIR") or ROOT / ".data").resolve()
        stack.enter_context(locked(data_dir))

        # The stack ends the processes in reverse order: web, worker, Redis.
        running: list[Process] = []
        if options.redis_url is None:
            server, url = embedded_redis(data_dir / "redis", keep=True, on_line=on_line)
            stack.callback(server.stop)
            running.append(server)
            note = data_dir / "redis_url"
            note.write_text(url)
            stack.callback(note.unlink)
        else:
            url = options.redis_url
            if problem := connection_problem(url):
                raise RunError(f"REDIS_URL={without_password(url)} does not answer: {problem}")

        os.environ.update(REDIS_URL=url, DATA_DIR=str(data_dir), HOST=options.host, PORT=str(port))
        # A unique name: on a shared Redis no other worker may reply to the ping.
        node = f"worker-{port}@{socket.gethostname()}"
        worker = Process(
            "worker", worker_command(node, options.workers), env=os.environ, on_line=on_line
        )
        stack.callback(worker.stop)
        worker.start()
        web = Process("web", web_command(), env=os.environ, on_line=on_line)
        stack.callback(web.stop)
        web.start()
        running += [worker, web]

        web.wait_ready(lambda: page_answers(options.host, port))
        worker.wait_ready(lambda: worker_answers(node, url))
        on_line("run", f"ready: {address(options.host, port)}  (press Ctrl-C to stop)")
        while all(child.returncode is None for child in running):
            if _end_requested.is_set():
                raise Stop
            time.sleep(0.1)
        dead = next(child for child in running if child.returncode is not None)
        raise ProcessError(f"{dead.describe_end()}; all other processes were stopped")


def without_password(url: str) -> str:
    return re.sub(r":[^:@/]*@", ":…@", url)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m project.run", description=__doc__)
    parser.add_argument("--with-parent", action="store_true", help="end when the caller is killed")
    if parser.parse_args(arguments).with_parent:
        die_with_parent(os.getppid())
    lock_environment()
    for number in ENDINGS:
        signal.signal(number, _stop)
    printer = Printer(sys.stdout)
    try:
        run(read_options(os.environ), printer)
    except Stop:
        printer("run", "stopped")
        return 0
    except (RunError, ProcessError, NoRedisError) as error:
        print(f"\nmake run: {error}", file=sys.stderr, flush=True)
    return 1


#: Set when Stop is raised, since Stop is lost where Python ignores exceptions, as in a finalizer.
_end_requested = threading.Event()


def _stop(number: int, frame: FrameType | None) -> None:
    _end_requested.set()
    # Ignore further signals: the children are being stopped, and each wait has a deadline.
    for again in ENDINGS:
        signal.signal(again, signal.SIG_IGN)
    raise Stop


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
