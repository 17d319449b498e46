"""Which pages may open a WebSocket: Django's rules for requests, applied to the handshake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from django.conf import settings as django_settings
from django.core.exceptions import DisallowedHost
from django.core.signals import setting_changed
from django.http import HttpRequest
from django.utils.http import is_same_domain

from realtime.conf import conf
from realtime.core.logs import get_logger

logger = get_logger("realtime.access")

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
#: Headers that decide, besides the one in SECURE_PROXY_SSL_HEADER.
_DECIDING: Final = (b"origin", b"host", b"x-forwarded-host", b"x-forwarded-port")
#: Handshakes whose outcome is kept: most differ in other headers only.
_KEPT: Final = 100
#: Characters of a client's header that a log line shows.
_SHOWN: Final = 200


class _Handshake(HttpRequest):
    """A handshake as a request of Django, for ``get_host()`` and ``is_secure()``."""

    def __init__(self, scope: Mapping[str, Any]) -> None:
        super().__init__()
        self._secure = scope.get("scheme") in ("wss", "https")
        server = scope.get("server") or ("unknown", 0)
        self.META = {"SERVER_NAME": str(server[0]), "SERVER_PORT": str(server[1])}
        for raw_name, value in scope["headers"]:
            name = raw_name.decode("latin-1")
            if "_" in name:  # as Django does: it would equal the header with a hyphen there
                continue
            key = f"HTTP_{name.upper().replace('-', '_')}"
            text = value.decode("latin-1")
            self.META[key] = f"{self.META[key]},{text}" if key in self.META else text

    def _get_scheme(self) -> str:
        return "https" if self._secure else "http"


def is_allowed_origin(scope: Mapping[str, Any]) -> bool:
    """Return whether a handshake comes from a page that may connect (RFC 6455, section 10.2).

    Allowed are the site's own origin by ``request.get_host()`` and ``request.is_secure()``, and
    the origins in CSRF_TRUSTED_ORIGINS and ``REALTIME["ALLOWED_ORIGINS"]``. A refusal is logged
    with the setting to change.
    """
    handshake = _what_decides(scope)
    if handshake in _allowed_before:
        return True
    if not _is_allowed(scope):
        return False
    if len(_allowed_before) >= _KEPT:
        _allowed_before.clear()
    _allowed_before.add(handshake)
    return True


#: What decided about handshakes that were allowed.
_allowed_before: set[tuple[Any, ...]] = set()


def _what_decides(scope: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return all that the outcome depends on. A project may change lists of hosts while it runs."""
    deciding: tuple[bytes, ...] = _DECIDING
    if secure := django_settings.SECURE_PROXY_SSL_HEADER:
        name = secure[0].removeprefix("HTTP_").replace("_", "-").lower()
        deciding = (*deciding, name.encode("latin-1"))
    return (
        scope.get("scheme"),
        tuple(scope.get("server") or ()),
        tuple((name, value) for name, value in scope["headers"] if name in deciding),
        tuple(django_settings.ALLOWED_HOSTS),
        tuple(django_settings.CSRF_TRUSTED_ORIGINS),
        tuple(conf().ALLOWED_ORIGINS),
    )


def _forget(**_kwargs: object) -> None:
    _allowed_before.clear()


setting_changed.connect(_forget)


def _is_allowed(scope: Mapping[str, Any]) -> bool:
    origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(origins) != 1:
        return _refuse(",".join(origins), "exactly one", "a browser sends one Origin")
    if len(hosts) != 1:
        return _refuse(origins[0], "exactly one Host", "the proxy must forward one Host")
    request = _Handshake(scope)
    try:
        own = list(_own_origins(request))
    except (DisallowedHost, ValueError):
        own = []
    if _is_listed(origins[0]) or (own and _normal(origins[0]) in own):
        return True
    return _refuse(origins[0], _allowed(own), _remedy(request, origins[0], own))


def _own_origins(request: HttpRequest) -> Iterator[tuple[str, str, int]]:
    """Yield scheme, host and port of the site's own origins.

    Raises DisallowedHost for a host that is not in ALLOWED_HOSTS.
    """
    scheme = "https" if request.is_secure() else "http"
    parts = urlsplit(f"//{request.get_host().lower()}")
    host, port = parts.hostname or "", parts.port
    yield scheme, host, port or _DEFAULT_PORTS[scheme]
    if port is None and django_settings.USE_X_FORWARDED_PORT:
        # A proxy may forward the host without its port, and the port in another header.
        forwarded = request.META.get("HTTP_X_FORWARDED_PORT", "")
        if forwarded.isascii() and forwarded.isdigit():
            yield scheme, host, int(forwarded)


def _normal(origin: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port of an origin; None for any other text."""
    try:
        parts: SplitResult = urlsplit(origin)
        port = parts.port
    except ValueError:
        return None
    if "@" in parts.netloc or origin != f"{parts.scheme}://{parts.netloc}":
        return None
    return parts.scheme, parts.hostname or "", port or _DEFAULT_PORTS.get(parts.scheme, 0)


def _is_listed(origin: str) -> bool:
    """Return whether a setting lists an origin; ``https://*.example.com`` means all subdomains."""
    scheme, _, host = origin.partition("://")
    for allowed in _listed():
        wanted, _, pattern = allowed.partition("://")
        if scheme == wanted and is_same_domain(host, pattern.removeprefix("*")):
            return True
    return False


def _listed() -> tuple[str, ...]:
    return (*conf().ALLOWED_ORIGINS, *django_settings.CSRF_TRUSTED_ORIGINS)


# The log line for the operator.


def _refuse(origin: str, allowed: str, remedy: str) -> bool:
    logger.warning(
        "handshake_refused origin=%s allowed=%s remedy=%r", _shown(origin), allowed, remedy
    )
    return False


def _shown(text: str) -> str:
    return ascii(text[:_SHOWN])


def _allowed(own: list[tuple[str, str, int]]) -> str:
    hosts = [f"[{host}]" if ":" in host else host for _, host, _ in own]
    origins = [
        f"{scheme}://{host}" + ("" if port == _DEFAULT_PORTS[scheme] else f":{port}")
        for (scheme, _, port), host in zip(own, hosts, strict=True)
    ]
    return _shown(",".join((*origins, *_listed())) or "none")


def _remedy(request: HttpRequest, origin: str, own: list[tuple[str, str, int]]) -> str:
    """Return which setting to change if this origin is a page of the site."""
    lists = "REALTIME['ALLOWED_ORIGINS'] or CSRF_TRUSTED_ORIGINS"
    page = _normal(origin)
    if page is None:
        return "this is no origin of a page"
    forwarded = request.META.get("HTTP_X_FORWARDED_HOST", "")
    if forwarded and not django_settings.USE_X_FORWARDED_HOST and page[1] in forwarded.lower():
        return "set USE_X_FORWARDED_HOST, or let the proxy forward the Host"
    if not own:
        host = _shown(forwarded or request.META.get("HTTP_HOST", ""))
        return f"add the host {host} to ALLOWED_HOSTS"
    (scheme, host, _), *_ = own
    if page[1] == host and page[0] == "https" and scheme == "http":
        return "set SECURE_PROXY_SSL_HEADER to the header in which the proxy sends the scheme"
    if page[:2] == (scheme, host):
        return (
            "let the proxy forward the port, in Host (nginx: $http_host) or in X-Forwarded-Port"
            " with USE_X_FORWARDED_PORT"
        )
    return f"add the origin to {lists}, or let the proxy forward the Host that the browser sent"
