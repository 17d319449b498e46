"""Which address a connection is counted under."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping
from typing import Any, Final

from realtime.conf import conf
from realtime.core.logs import get_logger

logger = get_logger("realtime.connection")

#: Longer than any address.
_ADDRESS_LENGTH: Final = 64


def client_address(scope: Mapping[str, Any]) -> str:
    """Return the address that a connection is counted under; "" where none is known.

    It is the peer's address. Behind ``TRUSTED_PROXIES`` proxies it is what the outermost of them
    added to ``X-Forwarded-For``; the client can have written everything left of that. An IPv6
    address counts by its network (/64), since one customer has all the addresses in it.
    """
    peer = (scope.get("client") or ("",))[0] or ""
    hops = conf().TRUSTED_PROXIES
    if hops:
        lines = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        forwarded = b",".join(lines).decode("latin-1").split(",")
        if len(forwarded) >= hops:
            peer = forwarded[-hops].strip() or peer
    return _network(peer)


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return address[:_ADDRESS_LENGTH]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed), 64), strict=False))


#: Seconds between two warnings about a proxy that is not trusted.
_WARNING_INTERVAL: Final = 60.0
_warned_at = -_WARNING_INTERVAL


def warn_of_proxy(scope: Mapping[str, Any]) -> None:
    """Log, after an address had too many connections, that it may be the address of a proxy."""
    global _warned_at
    lines = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    hops = b",".join(lines).count(b",") + 1 if lines else 0
    if hops <= conf().TRUSTED_PROXIES or time.monotonic() - _warned_at < _WARNING_INTERVAL:
        return
    _warned_at = time.monotonic()
    logger.warning(
        "address_limit address=%s x_forwarded_for=%r remedy=%r",
        client_address(scope),
        b",".join(lines)[:200].decode("latin-1"),
        "if this is the address of a proxy, set REALTIME['TRUSTED_PROXIES'] to the number of"
        " proxies: all visitors behind it share MAX_CONNECTIONS_PER_ADDRESS",
    )
