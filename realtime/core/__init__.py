"""The rules of the service, without Django, Redis, Celery or a network."""
