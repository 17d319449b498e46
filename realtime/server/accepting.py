"""Accept few connections at once, so that a burst of them does not delay those that are there.

As shipped Twisted accepts a hundred connections in a turn of its loop, and twenty more in each
later turn while others wait. When thousands of clients come back at once, all handshakes are soon
in progress, and a turn takes longer than a second: a request needs many turns, so none is answered
before the last handshake is, and the clients give up and come again.

Relied on, of Twisted: a port's ``doRead`` accepts ``numberAccepts`` connections, and changes that
number. Where that is not so, the port accepts as many as it does as shipped.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.tcp import Port

from realtime.core.relied_on import Part, are_known

#: Connections that are accepted in a turn of the loop. The kernel keeps the others meanwhile.
ACCEPTED: Final = 10

_RELIED_ON: Final = (Part(Port, "doRead", "numberAccepts"),)


def accept_few(port: Any) -> None:
    """Let a TCP port accept a few connections in each turn."""
    instead = "a burst of connections delays other clients for longer"
    if isinstance(port, Port) and are_known("accepting", "twisted", _RELIED_ON, instead=instead):
        _limit(port)


def _limit(port: Any) -> None:
    accept = port.doRead

    def accept_some() -> None:
        port.numberAccepts = ACCEPTED
        accept()

    port.doRead = accept_some
