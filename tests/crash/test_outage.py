"""What do callers meet while the storage is away, and when the service is told to stop in the middle of its work?"""

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from services.log.folder import SignerFolder
from services.postgres import EmbeddedPostgres
from services.settings import Settings
from tests.crash import load
from tests.crash.checker import Told, faults, read_log
from tests.crash.processes import Service, ended_after, kill, postmaster, quoted_on_failure, tokens
from tests.crash.trial import CALLERS

RECOVERY_SECONDS_MAX = 10.0
STOP_SECONDS_MAX = 2.0
EVALUATION = {
    "subject": {"type": "organization", "id": "customer-0"},
    "action": {"name": "use"},
    "resource": {"type": "release", "id": "contested-1"},
}
CUSTOMER = {"id": "late", "kind": "customer", "name": "Late", "country": "US", "size_class": "small"}


def caller_of(service: Service, told: list[Told] | None = None, seed: int = 0) -> load.Caller:
    return load.Caller([service.port], tokens(service.data), [] if told is None else told, random.Random(seed))


@contextmanager
def stopped_after(server: EmbeddedPostgres) -> Iterator[None]:
    try:
        yield
    finally:
        server.stop()


async def test_while_the_storage_is_down_nothing_is_answered_but_503_and_what_memory_knows(tmp_path: Path) -> None:
    """On a Postgres that the service cannot start again by itself; it must find the way back by itself all the same."""
    server = EmbeddedPostgres(tmp_path / "given")
    parts = conninfo_to_dict(server.start())
    login = f"{parts['user']}:{quote(str(parts['password']))}"
    url = f"postgresql://{login}@/{parts['dbname']}?host={quote(str(parts['host']), safe='')}&port={parts['port']}"
    service = Service(tmp_path / "data", settings={"DATABASE_URL": url})
    with stopped_after(server), quoted_on_failure(service), ended_after(service):
        service.start()
        await service.ready()
        caller, other = caller_of(service), caller_of(service)
        await load.prepare(caller)
        stage = await load.set_stage(caller, 1, 0)

        kill(postmaster(tmp_path / "given"))
        refused = asyncio.create_task(caller.once("POST", "root", "/organizations", CUSTOMER, "the-key"))
        load.must_be_unavailable(await other.once("GET", "root", f"/requests/{stage.request}"))
        assert (await other.once("GET", "root", "/readyz"))[0] == 503
        assert (await other.once("GET", "root", "/healthz"))[0] == 200
        assert (await other.once("POST", "rae", "/access/v1/evaluation", EVALUATION))[0] == 200
        load.must_be_unavailable(await refused)
        load.must_be_unavailable(await other.once("GET", "root", "/events"))

        server.start()
        back = time.monotonic()
        told = await caller.post("root", "/organizations", CUSTOMER, "the-key")
        status, document = await caller.get("root", f"/organizations/late?after={told.answer['position']}")
        assert (told.status, status, document["id"]) == (201, 200, "late")
        assert time.monotonic() - back < RECOVERY_SECONDS_MAX
        with psycopg.connect(server.start()) as conn:
            written = conn.execute("SELECT count(*) FROM event WHERE stream = 'organization-late'").fetchone()
        assert written == (1,), "the command that was repeated is there once"


async def test_a_killed_postmaster_is_back_within_ten_seconds_and_nobody_was_answered_500(tmp_path: Path) -> None:
    service = Service(tmp_path / "data")
    statuses: set[int] = set()
    stop = asyncio.Event()

    async def probe(method: str, person: str, path: str) -> None:
        caller, nth = caller_of(service), 0
        while not stop.is_set():
            nth += 1
            body = {**CUSTOMER, "id": f"{person}-{nth}"} if method == "POST" else None
            answer = await caller.once(method, person, path, body, f"{path}-{nth}" if body else "")
            if answer[0] == 503 and path != "/readyz":
                load.must_be_unavailable(answer)
            statuses.add(answer[0])
            await asyncio.sleep(0.01)
        await caller.close()

    with quoted_on_failure(service), ended_after(service):
        service.start()
        await service.ready()
        async with asyncio.TaskGroup() as group:
            probes = [("POST", "/organizations"), ("GET", "/organizations"), ("GET", "/events"), ("GET", "/readyz")]
            for method, path in probes:
                group.create_task(probe(method, "root", path))
            await asyncio.sleep(0.5)
            kill(postmaster(service.data))
            gone = time.monotonic()
            caller = caller_of(service)
            told = await caller.post("root", "/organizations", CUSTOMER)
            assert told.status == 201
            assert (await caller.get("root", f"/organizations/late?after={told.answer['position']}"))[0] == 200
            while (await caller.once("GET", "root", "/readyz"))[0] != 200:
                assert time.monotonic() - gone < RECOVERY_SECONDS_MAX, service.said()
                await asyncio.sleep(0.05)
            assert time.monotonic() - gone < RECOVERY_SECONDS_MAX
            stop.set()
        assert statuses <= {200, 201, 503}


async def test_ctrl_c_under_load_ends_within_two_seconds_and_loses_nothing(tmp_path: Path) -> None:
    service, told = Service(tmp_path / "data"), list[Told]()
    with quoted_on_failure(service), ended_after(service):
        service.start()
        await service.ready()
        callers = [caller_of(service, told, nth) for nth in range(CALLERS)]
        await load.prepare(callers[0])
        stage = await load.set_stage(callers[0], 1, 2.0)
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run(stage, callers))
            await asyncio.sleep(1)
            code, seconds = await asyncio.to_thread(service.interrupt)
            service.start()
            await service.ready()
        assert code == 0, service.said()
        assert seconds < STOP_SECONDS_MAX, f"It took {seconds:.1f} seconds."
        with EmbeddedPostgres(service.data) as conninfo:
            signer = SignerFolder(service.data / "signer", Settings().origin).verifier().public
            assert faults(read_log(conninfo, signer), told) == []
