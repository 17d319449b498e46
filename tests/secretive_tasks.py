"""Tasks that have a secret and do not publish it, and one that publishes it everywhere."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from realtime import set_progress


class Holder:
    """Holds a secret that its description shows."""

    def __init__(self, secret: str) -> None:
        self.secret = secret

    def __repr__(self) -> str:
        return f"Holder({self.secret})"


@shared_task(bind=True, max_retries=1)
def keep_secret(self: Any, secret: str, *, also: dict[str, str]) -> None:
    """Fail twice, deep inside, with the secret in arguments and in local variables."""
    set_progress(1, 2, message="half")
    holder = Holder(secret + also["secret"])
    try:
        _inside(holder)
    except ValueError as error:
        raise self.retry(exc=error, countdown=0) from None


def _inside(holder: Holder) -> None:
    local = [holder.secret, holder]
    raise ValueError(f"{len(local)} things are wrong")


@shared_task
def keep_result(secret: str) -> int:
    """Succeed, with the secret in an argument alone."""
    return len(secret)


@shared_task
def tell(secret: str) -> str:
    """Say it in the progress and in the result."""
    set_progress(1, 1, message=f"found {secret}")
    return secret


@shared_task
def cry(secret: str) -> None:
    """Say it in the exception's own message."""
    raise ValueError(f"not allowed: {secret}")
