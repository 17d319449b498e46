"""No table: only the permissions that let staff see and cancel everybody's tasks."""

from django.db import models


class Task(models.Model):
    """Stands for the tasks in Redis where Django wants a model to hang permissions on."""

    class Meta:
        managed = False
        default_permissions = ("view",)
        permissions = [("cancel_task", "Can cancel task")]

    def __str__(self) -> str:
        """Return the kind of thing it stands for."""
        return "task"
