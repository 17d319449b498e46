"""All families, the busy ones in their order."""

from .away import Away
from .family import Family
from .gone import Gone
from .plain import Plain

FAMILIES: list[type[Family]] = [Plain, Away, Gone]
