"""The worker's side: changes from Celery's signals to the store, without hurting the task."""
