"""All families, the busy ones in their order."""

from .family import Family
from .plain import Plain

FAMILIES: list[type[Family]] = [Plain]
