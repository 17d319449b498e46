"""``manage.py forget_realtime``: remove what the service keeps of a user's tasks or of tasks."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from realtime import forget


class Command(BaseCommand):
    """Removes records, lists and logs from the store."""

    help = (
        "Removes the stored statuses of a user's tasks, or of single tasks. Results in Celery's"
        " result backend stay."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the arguments: a user, an owner, or tasks."""
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--user", metavar="NAME", help="the user with this name")
        what.add_argument("--user-id", metavar="ID", help="the user with this primary key")
        what.add_argument(
            "--owner",
            help="the ident of a user: topic, such as that of a visitor or of a deleted user",
        )
        what.add_argument("--task", metavar="ID", nargs="+", help="tasks by their ids")

    def handle(self, *args: Any, **options: Any) -> None:
        """Remove, and print the number of tasks."""
        if options["task"]:
            count = sum(forget(task_id=task_id) for task_id in options["task"])
        elif options["owner"] is not None:
            if not options["owner"]:
                raise CommandError("--owner must not be empty")
            count = forget(owner=options["owner"])
        else:
            count = forget(user=_find(options["user"], options["user_id"]))
        self.stdout.write(f"{count} task{'' if count == 1 else 's'} removed")


def _find(name: str | None, ident: str) -> Any:
    from django.contrib.auth import get_user_model

    users = get_user_model()._default_manager  # noqa: SLF001 - Django's
    try:
        if name is not None:
            return users.get_by_natural_key(name)
        return users.get(pk=ident)
    except (get_user_model().DoesNotExist, ValueError) as error:
        raise CommandError(f"there is no user {name if name is not None else ident!r}") from error
