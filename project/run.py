"""`make run`: Redis, a Celery worker and the web server, under one parent.

HOST, PORT, REDIS_URL, WORKERS and DATA_DIR are read from the environment. It ends with all that it
started: on Ctrl-C, on SIGTERM, when one of its children ends, and when it is killed.
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
from project.redis_server import NoRedisError, embedded_redis, trouble_with

COLOURS = {"redis": "31", "worker": "32", "web": "36", "run": "1"}
#: Signals that ask it to end.
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class RunError(Exception):
    """It cannot run; the text names the reason and the remedy."""


class Stop(BaseException):
    """A signal asked it to end. Not an Exception, so that no handler of errors catches it."""


@dataclass(frozen=True)
class Options:
    """The options that the environment gives."""

    host: str
    port: int
    workers: int
    redis_url: str | None


def read_options(environment: Mapping[str, str]) -> Options:
    """Read HOST, PORT, WORKERS and REDIS_URL; an empty one counts as missing.

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
        raise RunError(f"{name}={given}: a whole number from {least} to {most} is needed.")
    return int(given)


def worker_command(node: str, workers: int) -> list[str]:
    """Return a prefork worker's command, without gossip and mingle, which cost a second."""
    command = [sys.executable, "-m", "celery", "-A", "project.celery:app", "worker"]
    command += ["--pool", "prefork", "--concurrency", str(workers), "--hostname", node]
    return [*command, "--loglevel", "INFO", "--without-gossip", "--without-mingle"]


def web_command() -> list[str]:
    """Return the web server's command; HOST and PORT are in its environment."""
    return [sys.executable, "-m", "project.web"]


def page_answers(host: str, port: int) -> bool:
    """Return whether the page is served."""
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
    # Unlike the worker's log line, an answer proves the way there and back.
    with Celery(broker=redis_url, set_as_current=False) as app:
        try:
            return bool(app.control.ping(destination=[node], timeout=0.25))
        except app.connection_for_write().transport.connection_errors:
            return False


def reachable(host: str) -> str:
    """Return the address under which a server that listens on `host` is reached."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared only


def address(host: str, port: int) -> str:
    name = reachable(host)
    return f"http://{f'[{name}]' if ':' in name else name}:{port}/"


def usable_port(host: str, port: int) -> int:
    """Return the port for the web server; for 0, a free one.

    Raises RunError when it could not listen there.
    """
    try:
        family, kind, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            # As the server does; otherwise the port of a server that just ended counts as used.
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
            raise RunError(f"HOST={host} is no address of this machine.") from None
        raise RunError(
            f"Port {port} on {host} is taken by another program. "
            f"Stop it, or choose another port: make run PORT={port + 1}"
        ) from None


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Lock DATA_DIR, so that two servers never write one file."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(data_dir, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise RunError(
            f"Another `make run` uses {data_dir}. Stop it, or give this one a folder of its "
            "own: make run DATA_DIR=…"
        ) from None
    finally:
        os.close(descriptor)


class Printer:
    """Writes the logs as one stream, each line after its source."""

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
                # The reader has ended (`make run | head`, a closed terminal).
                os.kill(os.getpid(), signal.SIGTERM)


def run(options: Options, on_line: Callable[[str, str], None]) -> None:
    """Start everything, print the address, and wait until one of the children ends.

    Raises ProcessError then, RunError where it cannot start, and Stop after a signal. All children
    have ended by then.
    """
    with ExitStack() as stack:
        port = usable_port(options.host, options.port)
        data_dir = Path(os.environ.get("DATA_DIR") or ROOT / ".data").resolve()
        stack.enter_context(locked(data_dir))

        # The stack ends them in reverse: web, worker, Redis.
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
            if trouble := trouble_with(url):
                raise RunError(f"REDIS_URL={without_password(url)} does not answer: {trouble}")

        os.environ.update(REDIS_URL=url, DATA_DIR=str(data_dir), HOST=options.host, PORT=str(port))
        # A unique name: on a shared Redis another worker must not answer for this one.
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
        on_line("run", f"ready: {address(options.host, port)}  (Ctrl-C ends it)")
        while all(child.returncode is None for child in running):
            if _end_requested.is_set():
                raise Stop
            time.sleep(0.1)
        dead = next(child for child in running if child.returncode is not None)
        raise ProcessError(f"{dead.describe_end()}; everything is stopped")


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


#: Set besides raising Stop, which is lost where exceptions are ignored, as in a finalizer.
_end_requested = threading.Event()


def _stop(number: int, frame: FrameType | None) -> None:
    _end_requested.set()
    # One signal is enough: everything is being stopped now, and each wait has a deadline.
    for again in ENDINGS:
        signal.signal(again, signal.SIG_IGN)
    raise Stop


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
