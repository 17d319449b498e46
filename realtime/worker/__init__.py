"""The worker side: from Celery's signals to the broker, without hurting the task."""
