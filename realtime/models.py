"""No table: only the permissions with which staff may see and cancel all tasks."""

from django.db import models


class Task(models.Model):
    """A model without a table, since Django's permissions belong to a model."""

    class Meta:
        managed = False
        default_permissions = ("view",)
        permissions = [("cancel_task", "Can cancel task")]

    def __str__(self) -> str:
        """Return the name of the model."""
        return "task"
