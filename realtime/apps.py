"""The app's configuration."""

from django.apps import AppConfig


class RealtimeConfig(AppConfig):
    """Connects Celery's and Django's signals in every process that sets Django up."""

    name = "realtime"
    verbose_name = "Live status of Celery tasks"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the receivers and register the system checks."""
        from . import checks  # noqa: F401
        from .web import checks as web_checks  # noqa: F401
        from .web.access import signals as access_signals
        from .worker import signals

        signals.connect()
        access_signals.connect()
