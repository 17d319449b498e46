"""Call a service that often fails, with retries."""

from __future__ import annotations

import random
import time
from typing import Any, ClassVar

from celery import Task, shared_task

from realtime import set_progress

MAX_RETRIES = 3
MAX_LATENCY = 5.0  #: seconds


class UpstreamError(ConnectionError):
    """The rate service did not reply. A later call may succeed."""


class RateService:
    """A fake rate service on the network: slow, and often unavailable.

    With the same `seed` the same calls fail in every process. The rates are invented.
    """

    CURRENCIES: ClassVar = {"CHF": 0.95, "GBP": 0.86, "JPY": 163.0, "SEK": 11.4, "USD": 1.08}

    def __init__(self, *, seed: int, latency: float, failure_probability: float) -> None:
        self.seed = seed
        self.latency = min(max(latency, 0.0), MAX_LATENCY)
        self.failure_probability = failure_probability

    def rates(self, call: int) -> dict[str, float]:
        """Return the rates of one euro at call number `call`. Raises `UpstreamError`."""
        chance = random.Random(f"{self.seed}:{call}")  # noqa: S311 - nothing secret
        time.sleep(self.latency)
        if chance.random() < self.failure_probability:
            raise UpstreamError(f"503 Service Unavailable (call {call + 1})")
        return {
            currency: round(middle * chance.uniform(0.98, 1.02), 4)
            for currency, middle in self.CURRENCIES.items()
        }


@shared_task(
    bind=True,
    autoretry_for=(UpstreamError,),
    max_retries=MAX_RETRIES,
    retry_backoff=2,
    retry_backoff_max=10,
    retry_jitter=True,
)
def fetch_rates(
    self: Task[..., Any], *, seed: int = 1, latency: float = 1.0, failure_probability: float = 0.5
) -> dict[str, Any]:
    """Fetch rates from the service, with up to `MAX_RETRIES` retries while it is unavailable.

    `latency` is in seconds. Returns the rates and the number of calls. Raises
    `UpstreamError` if the last call fails too.
    """
    call = self.request.retries
    set_progress(0, 1, message=f"calling the rate service, attempt {call + 1} of {MAX_RETRIES + 1}")
    service = RateService(seed=seed, latency=latency, failure_probability=failure_probability)
    rates = service.rates(call)
    set_progress(1, 1, message="rates received")
    return {"calls": call + 1, "rates": rates}
