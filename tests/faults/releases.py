"""Two releases beside each other, and pages that stay open for longer than their tokens."""

from __future__ import annotations

import time
from pathlib import Path

from realtime.core.states import SUCCESS
from tests.client.protocol import Frame
from tests.client.watcher import LoopThread, Watcher

from .batch import Batch, batch
from .family import Family, Outcome, fault
from .next_release import MORE
from .pages import Page, token_server
from .proxy import Proxy
from .stage import require

#: Frames of this release; a client ignores all others.
KNOWN = ("welcome", "store", "subscribed", "snapshot", "page", "event", "error", "pong", "closing")
#: Seconds that a token is good for.
TOKEN_AGE = 5


class TolerantWatcher(Watcher):
    """A client that ignores frames of a type that it does not know, as the contract requires."""

    #: How many frames were ignored.
    ignored = 0

    def receive(self, message: Frame) -> None:
        """Apply a frame of a known type."""
        if message["type"] in KNOWN:
            super().receive(message)
        else:
            self.ignored += 1


class Releases(Family):
    """A rolling deploy: each row has one process of the next release."""

    name = "releases"
    lane = "overtaken"

    def begin(self) -> None:
        redis = self.stage.redis("redis")
        self.stage.use(redis.url, redis.url)
        self.requested = self.stage.stack.enter_context(token_server())

    def _work(self, made: Batch, size: int, queue: str) -> Outcome:
        tasks = self.stage.tasks
        for number in range(size):
            if number % 3 == 0:
                made.send(tasks.report, 0.2, 4, queue=queue)
            elif number % 3 == 1:
                made.send(tasks.name_a_state, "PAUSED", queue=queue)
            else:
                made.send(tasks.retry, 2, queue=queue)
        return Outcome(made.judge())

    def _open_page(self, made: Batch, url: str) -> Page:
        """Let the JavaScript client watch too."""
        tasks = made.ids[:40]
        page = Page("page", url, {f"task:{one}": [one] for one in tasks}, self.stage.rng)
        made.admit([page])
        require(made.until(lambda: page.stands, 60), f"the page is not subscribed: {page.codes}")
        return page

    @fault("30a", "a worker of the next release, web and publisher of this one", short=30, long=600)
    def next_worker(self, size: int) -> Outcome:
        worker = self.stage.worker(queue="next", FAULTS_NEXT="1")
        web, url = self.stage.web()
        with batch(self.stage, size, url) as made:
            page = self._open_page(made, url)
            outcome = self._work(made, size, "next")
            failures = sum(web.log().count(word) for word in ("Traceback", "_failed"))
        outcome.require(page.keys >= MORE.keys(), "a key of the next release did not arrive")
        outcome.require(not failures, f"the web process failed {failures} times")
        outcome.require("Traceback" not in worker.log(), "the worker failed")
        worker.kill()
        web.kill()
        return outcome

    @fault("30b", "a web process of the next release, clients of this one", short=30, long=600)
    def next_web(self, size: int) -> Outcome:
        worker = self.stage.worker(queue="this")
        web, url = self.stage.web(module="tests.faults.next_release")
        self.stage.client = TolerantWatcher
        try:
            with batch(self.stage, size, url) as made:
                page = self._open_page(made, url)
                outcome = self._work(made, size, "this")
                ignored = sum(getattr(one, "ignored", 0) for one in made.watchers)
        finally:
            self.stage.client = Watcher
        outcome.require(page.keys >= MORE.keys(), "a key of the next release did not arrive")
        outcome.require(ignored > 0, "no frame was of the next release")
        outcome.note = f"{ignored:,} frames of an unknown type"
        worker.kill()
        web.kill()
        return outcome

    @fault("31", "tokens that expire while tasks run, and reconnects", short=3, long=12)
    def tokens_end(self, size: int) -> Outcome:
        """The size is how often the tokens end while the tasks run."""
        realtime = {"TOKEN_AGE": TOKEN_AGE}
        worker = self.stage.worker(queue="long")
        web, url = self.stage.web(settings={"REALTIME": realtime})
        loop = LoopThread()
        self.stage.stack.callback(loop.close)
        link = Proxy(loop, url, self.stage.rng)
        from django.test import override_settings

        from project.settings import REALTIME

        with (
            override_settings(REALTIME={**REALTIME, **realtime}),
            batch(self.stage, 4) as made,
        ):
            end = Path(self.stage.folder(), "end")
            for _ in made.ids:
                made.send(self.stage.tasks.report_until, str(end), 0.1, queue="long")
            self.requested.clear()
            page = self._open_page(made, link.url)
            for _ in range(size):
                before = len(page.codes)
                time.sleep(TOKEN_AGE)  # the fault itself: a token ends

                def cut(before: int = before) -> bool:
                    loop.call(link.reset_all())  # again if the page has not come back yet
                    return len(page.codes) > before

                require(made.until(cut, 60), "it was not cut")
            end.touch()
            outcome = Outcome(made.judge(run=120))
        states = {page.states.get(one) for one in made.ids}
        outcome.require(states == {SUCCESS}, f"the page's last states are {states}")
        tokens = len(self.requested)
        outcome.require(tokens >= size * len(made.ids), f"only {tokens} tokens were requested")
        outcome.note = f"{tokens} tokens, {len(page.codes)} reconnects"
        worker.kill()
        web.kill()
        return outcome
