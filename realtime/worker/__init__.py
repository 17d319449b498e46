"""The worker side: from Celery's signals to the store, without hurting the task."""
