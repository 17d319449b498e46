"""How many connections a port accepts in a turn of the loop."""

import socket
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.tcp import Port

from realtime.core import relied_on
from realtime.server import accepting
from realtime.server.accepting import ACCEPTED, accept_few


class Reactor:
    """Calls nothing by itself."""

    def __getattr__(self, name):
        return lambda *_args: SimpleNamespace(cancel=lambda: None)


class Counting(Factory):
    def __init__(self):
        self.made = []

    def buildProtocol(self, _address):  # noqa: N802 - Twisted's name
        self.made.append(Protocol())
        return self.made[-1]


@pytest.fixture
def port():
    """A port for which more wait than it may accept at once."""
    port = Port(0, Counting(), backlog=100, interface="127.0.0.1", reactor=Reactor())
    port.startListening()
    with ExitStack() as stack:
        for _ in range(2 * ACCEPTED + 1):
            stack.enter_context(socket.create_connection(("127.0.0.1", port.getHost().port)))
        yield port
    port.connectionLost(None)
    for each in port.factory.made:
        each.transport.getHandle().close()


def counts(port):
    found = []
    for _ in range(4):
        before = len(port.factory.made)
        port.doRead()
        found.append(len(port.factory.made) - before)
    return found


def test_a_port_accepts_a_few_in_each_turn_and_all_in_the_end(port):
    accept_few(port)
    assert counts(port) == [ACCEPTED, ACCEPTED, 1, 0]


def test_where_twisted_has_changed_a_port_accepts_as_it_does_as_shipped(port, monkeypatch, caplog):
    changed = relied_on.Part(Port, "doRead", "anotherNumber")
    monkeypatch.setattr(accepting, "_RELIED_ON", (changed,))
    accept_few(port)
    assert counts(port) == [2 * ACCEPTED + 1, 0, 0, 0]
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("library_unknown module=accepting library=twisted ")


def test_what_is_no_port_of_tcp_is_left_as_it_is():
    accept_few(SimpleNamespace())
