"""How many events a second does an Application of the `eventsourcing` library record, on a recorder of its own?

`python -m tests.benchmarks.library CLIENTS SECONDS BYTES` writes a Sample; the library's environment says where.
"""

import json
import os
import sys
import time
from dataclasses import asdict
from threading import Barrier, Thread
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from tests.benchmarks.samples import Sample, sample_of


class Request(Aggregate):
    """An aggregate that remembers a sign-off."""

    reason = ""

    @event("SignedOff")
    def sign_off(self, reason: str) -> None:
        self.reason = reason


def reason_of(app: "Application[UUID]", record_bytes: int) -> str:
    """The text that makes the stored event as long as a record of Assent's."""
    probe = Request()
    probe.sign_off("")
    empty = app.mapper.to_stored_event(probe.pending_events[-1])
    return "r" * (record_bytes - len(empty.state))


def measured(app: "Application[UUID]", clients: int, seconds: float, record_bytes: int) -> Sample:
    """Each thread has an aggregate of its own in memory: it triggers an event and saves it, again and again."""
    reason = reason_of(app, record_bytes)
    latencies: list[float] = []
    ready = Barrier(clients + 1)

    def sign() -> None:
        request, own = Request(), []
        app.save(request)
        ready.wait()
        deadline = time.perf_counter() + seconds
        while (began := time.perf_counter()) < deadline:
            request.sign_off(reason)
            app.save(request)
            own.append(time.perf_counter() - began)
        latencies.extend(own)

    threads = [Thread(target=sign) for _ in range(clients)]
    for thread in threads:
        thread.start()
    ready.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return sample_of(latencies, time.perf_counter() - began)


if __name__ == "__main__":
    app = Application[UUID](env=dict(os.environ))
    json.dump(asdict(measured(app, int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))), sys.stdout)
    app.close()
