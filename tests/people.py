"""The people that a service of the tests knows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

#: Run in the service's own Django: each user, and a session in which they are signed in.
_MAKE_PEOPLE = """
import json
from django.contrib.auth.models import Permission, User
from django.test import Client

rights = {"alice": [], "bob": [], "clerk": [], "auditor": ["view_task"],
          "boss": ["view_task", "cancel_task"]}
found = {}
for name, codenames in rights.items():
    staff = name in ("clerk", "auditor", "boss")
    user, _ = User.objects.get_or_create(username=name, is_staff=staff)
    permissions = Permission.objects.filter(content_type__app_label="realtime")
    user.user_permissions.set(permissions.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    found[name] = [user.pk, client.cookies["sessionid"].value]
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Person:
    """A user's primary key, and the session in which they are signed in."""

    key: int
    session: str


@dataclass(frozen=True)
class People:
    """Alice and Bob are users; of the staff the clerk may nothing, the auditor sees, the boss
    also cancels."""

    alice: Person
    bob: Person
    clerk: Person
    auditor: Person
    boss: Person


def make_people(service: Any) -> People:
    """Make the users, and sign each in."""
    made = json.loads(service.run_code(_MAKE_PEOPLE).splitlines()[-1])
    return People(**{name: Person(*given) for name, given in made.items()})
