"""All figures."""

from collections.abc import Callable, Iterator

from .deaf import deaf_readers
from .ends import killed, restarts, storms
from .handshakes import half_open
from .held import sockets
from .leaks import leaks
from .lists import lists
from .report import Row
from .stage import LoadStage
from .waiting import waiting

#: In this order: leaks are measured while nothing else is in Redis.
FIGURES: dict[str, Callable[[LoadStage], Iterator[Row]]] = {
    "g": leaks,
    "a": deaf_readers,
    "b": half_open,
    "c": sockets,
    "d": restarts,
    "e": killed,
    "f": storms,
    "h": lists,
    "i": waiting,
}
