"""The Django project that runs here: the service in use, with a page to watch real tasks."""

from project.celery import app as celery_app

__all__ = ["celery_app"]
