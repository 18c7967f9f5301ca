"""Has every answered read and refusal its record, however often the service is killed while it answers?"""

import asyncio
from collections import Counter
from pathlib import Path

import httpx
import msgspec
import psycopg
import pytest

from services.cli import main
from services.postgres import open_database
from services.settings import Settings
from tests.crash.processes import Service, ended_after, postmaster, tokens
from tests.crash.processes import kill as kill_process

READERS = 8
KILLS = 3


async def test_killed_under_load_no_answered_read_or_refusal_is_without_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "assent"
    service = Service(data)
    answered: list[str] = []
    with ended_after(service):
        for kill in range(KILLS):
            service.start()
            await service.ready()
            token = tokens(data)("root")
            plenty = asyncio.Event()
            names = [f"{kill}-{nth}" for nth in range(READERS)]
            readers = [asyncio.create_task(_ask(service.port, token, name, answered, plenty)) for name in names]
            await asyncio.wait_for(plenty.wait(), 60)
            service.kill()
            kill_process(postmaster(data))
            await asyncio.gather(*readers)
    with open_database(Settings(data=data)) as conninfo, psycopg.connect(conninfo) as conn:
        records = conn.execute("SELECT record FROM trail.event ORDER BY position").fetchall()
    recorded = Counter(msgspec.json.decode(record)["data"]["caller"]["request"] for (record,) in records)
    assert [id for id in answered if recorded[id] != 1] == []
    monkeypatch.setenv("ASSENT_DATA", str(data))
    assert await asyncio.to_thread(main, ["log", "verify", "--trail"]) == 0


async def _ask(port: int, token: str, name: str, answered: list[str], plenty: asyncio.Event) -> None:
    """Read, and ask for what is refused, by turns, until nobody answers any more."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=10) as client:
        for nth in range(1_000_000):
            id = f"{name}-{nth}"
            headers = {"authorization": f"Bearer {token}", "x-request-id": id, "idempotency-key": id}
            try:
                if nth % 2:
                    response = await client.get("/requests", headers=headers)
                else:
                    response = await client.post("/requests/none/withdrawal", json={"reason": "none"}, headers=headers)
            except httpx.TransportError:
                return
            assert response.status_code in (200, 404), response.text
            answered.append(id)
            if len(answered) % 100 == 0:
                plenty.set()
