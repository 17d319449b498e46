"""The Django project of `make run`: a page that shows real tasks live."""

from project.celery import app as celery_app

__all__ = ["celery_app"]
