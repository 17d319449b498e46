"""A floor in C: nginx with Nchan, to which a worker publishes over HTTP."""

from __future__ import annotations

import http.client
import shutil
from pathlib import Path
from typing import Any

from benchmarks.sockets import Hello
from tests.client.octets import handshake

from .base import Missing, Peer, Publish, Server

_CONFIGURATION = """
load_module {module};
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 16000; }}
http {{
  access_log off;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location ~ ^/publish/([\\w-]+)$ {{ nchan_publisher; nchan_channel_id $1; }}
    location ~ ^/watch/([\\w-]+)$ {{ nchan_subscriber websocket; nchan_channel_id $1; }}
  }}
}}
"""


class Nchan(Peer):
    """nginx with one worker process, which has the channels in its memory."""

    forks = True
    _port = 0

    def check_present(self) -> None:
        if self._module() is None:
            raise Missing("nginx with Nchan is not installed (Debian: nginx, libnginx-mod-nchan)")

    def command(self, port: int, directory: Path) -> list[str]:
        self._port = port
        text = _CONFIGURATION.format(module=self._module(), directory=directory, port=port)
        configuration = directory / "nginx.conf"
        configuration.write_text(text)
        return ["nginx", "-e", "stderr", "-p", str(directory), "-c", str(configuration)]

    def hello(self, server: Server, ident: str, cookie: str) -> Hello:
        return [(handshake(server.port, path=f"/watch/{ident}", cookie=cookie), b"\r\n\r\n")]

    def publisher(self, ident: str, task: Any = None) -> Publish:
        from benchmarks.sample import status_of
        from realtime.core.jsontext import dumps

        connection = http.client.HTTPConnection("127.0.0.1", self._port)

        def publish(message: str) -> None:
            connection.request("POST", f"/publish/{ident}", dumps(status_of(ident, message)))
            connection.getresponse().read()

        return publish

    def _module(self) -> Path | None:
        nginx = shutil.which("nginx")
        if nginx is None:
            return None
        places = [Path(nginx).parent.parent / lib / "nginx" / "modules" for lib in ("lib", "lib64")]
        found = [place / "ngx_nchan_module.so" for place in places]
        return next((path for path in found if path.exists()), None)
