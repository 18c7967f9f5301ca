"""How many events a second does UmaDB append, with the condition that a stream did not change meanwhile?

`python -m tests.benchmarks.umadb_appends URL CLIENTS SECONDS BYTES TAG` writes a Sample. The server is UmaDB's own.
"""

import json
import sys
import time
from dataclasses import asdict
from itertools import cycle
from threading import Barrier, Thread
from typing import Any

import umadb

from tests.benchmarks.samples import Sample, sample_of

STREAMS = 3
"""Streams of each client, about as many in all as the requests that Assent's officers sign off."""


def measured(url: str, clients: int, seconds: float, record_bytes: int, tag: str) -> Sample:
    """A thread and a connection for each client: it appends to its streams by turns, upon the last it wrote there."""
    record = b"r" * record_bytes
    latencies: list[float] = []
    ready = Barrier(clients + 1)

    def sign(nth: int) -> None:
        client, own = umadb.Client(url), []
        last: dict[str, Any] = dict.fromkeys(f"request-{tag}-{nth}-{stream}" for stream in range(STREAMS))
        streams = cycle(last)
        ready.wait()
        deadline = time.perf_counter() + seconds
        while (began := time.perf_counter()) < deadline:
            stream = next(streams)
            unchanged = umadb.AppendCondition(umadb.Query([umadb.QueryItem(tags=[stream])]), after=last[stream])
            last[stream] = client.append([umadb.Event("AgencySignedOff", record, [stream])], unchanged)
            own.append(time.perf_counter() - began)
        latencies.extend(own)

    threads = [Thread(target=sign, args=(nth,)) for nth in range(clients)]
    for thread in threads:
        thread.start()
    ready.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return sample_of(latencies, time.perf_counter() - began)


if __name__ == "__main__":
    _, url, clients, seconds, record_bytes, tag = sys.argv
    json.dump(asdict(measured(url, int(clients), float(seconds), int(record_bytes), tag)), sys.stdout)
