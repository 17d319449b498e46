"""All figures."""

from collections.abc import Callable, Iterator

from .ends import killed, restarts, storms
from .handshakes import half_open
from .idle import idle_sockets
from .leaks import leaks
from .lists import lists
from .report import Row
from .returns import returns
from .slow_readers import slow_readers
from .stage import LoadStage
from .waiting import waiting

#: In this order: leaks are measured while nothing else is in Redis.
FIGURES: dict[str, Callable[[LoadStage], Iterator[Row]]] = {
    "g": leaks,
    "a": slow_readers,
    "b": half_open,
    "c": idle_sockets,
    "d": restarts,
    "e": killed,
    "f": storms,
    "h": lists,
    "i": waiting,
    "j": returns,
}
