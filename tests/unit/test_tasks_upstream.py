"""The unreliable upstream service: a seed decides which calls fail, and the retries are limited."""

import pytest

from tasks.upstream import MAX_RETRIES, RateService, UpstreamError, fetch_rates


def outcomes(seed):
    service = RateService(seed=seed, latency=0, failure_probability=0.6)
    for call in range(MAX_RETRIES + 1):
        try:
            service.rates(call)
        except UpstreamError:
            yield "fails"
        else:
            yield "answers"


def test_same_seed_fails_at_the_same_calls():
    assert list(outcomes(23)) == ["fails", "fails", "answers", "answers"]
    assert list(outcomes(23)) == list(outcomes(23))


def test_task_succeeds_after_retries():
    result = fetch_rates.apply(kwargs={"seed": 23, "latency": 0, "failure_probability": 0.6})
    assert result.state == "SUCCESS"
    assert result.result["calls"] == 3
    assert set(result.result["rates"]) == set(RateService.CURRENCIES)


def test_task_fails_after_the_last_retry():
    result = fetch_rates.apply(kwargs={"latency": 0, "failure_probability": 1})
    assert result.state == "FAILURE"
    assert isinstance(result.result, UpstreamError)
    assert str(result.result) == f"503 Service Unavailable (call {MAX_RETRIES + 1})"


def test_latency_is_limited():
    assert RateService(seed=1, latency=9e9, failure_probability=0).latency == pytest.approx(5)
