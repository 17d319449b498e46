"""The tasks of the demo: an import, thumbnails, a report and a call to a flaky service.

A Celery app finds them all with ``include=["tasks"]``.
"""

from tasks import images, imports, reports, upstream

__all__ = ["images", "imports", "reports", "upstream"]
