"""All families, those of one lane in their order."""

from .away import Away
from .contrast import (
    UsualAway,
    UsualKilled,
    UsualLinks,
    UsualOvertaken,
    UsualPlain,
    UsualUnreliable,
)
from .failover import Failover
from .family import Family
from .gone import Killed, Overtaken
from .links import Links
from .plain import Plain
from .releases import Releases
from .unassisted import Unassisted
from .unreliable import Unreliable

FAMILIES: list[type[Family]] = [
    Plain,
    UsualPlain,
    UsualUnreliable,
    Away,
    Failover,
    Links,
    Unassisted,
    Killed,
    Overtaken,
    Unreliable,
    Releases,
    UsualAway,
    UsualKilled,
    UsualLinks,
    UsualOvertaken,
]
