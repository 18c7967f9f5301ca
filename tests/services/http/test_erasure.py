"""Is a person's text forgotten for good, everywhere, while everything that was proved stays proved?"""

import time
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from services.log.merkle import leaf_hash
from tests.services.http.conftest import Ask, Service
from tests.services.http.test_commands import problem

SECRET = "The turbines of the Elbe are steered by it"
QUESTION = {"agency": "oncd", "question": "Where is it used?"}


def dump(conninfo: str) -> bytes:
    """Every row of every table, as a backup would hold it."""
    with psycopg.connect(conninfo) as conn:
        tables = conn.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        parts = []
        for schema, table in tables:
            copied = sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(schema, table))
            with conn.cursor() as cursor, cursor.copy(copied) as rows:
                parts += list(rows)
    return b"".join(map(bytes, parts))


def written_by(service: Service, request_of: Ask, person: str, text: str) -> tuple[str, int]:
    """A request of tinker with an answer of that person; its id and the answer's position."""
    service.done("root", "/organizations/tinker/appointments", {"person": person, "role": "applicant"})
    id = request_of("tinker", person)
    asked = service.done("olga", f"/requests/{id}/information-requests", QUESTION)
    answered = service.done(person, f"/requests/{id}/information-requests/{asked['number']}/response", {"answer": text})
    return id, answered["position"]


def answer_of(service: Service, reader: str, id: str, after: int) -> Any:
    entries = service.read(reader, f"/requests/{id}/history", after)["items"]
    return next(entry["data"]["answer"] for entry in entries if entry["type"] == "InformationProvided")


def record_at(service: Service, position: int) -> bytes:
    with psycopg.connect(service.settings.database_url or "") as conn:
        found = conn.execute("SELECT record, leaf FROM event WHERE position = %s", (position,)).fetchone()
    assert found is not None and leaf_hash(found[0]) == found[1]
    return bytes(found[0])


def until_erased(service: Service, reader: str, id: str, after: int) -> Any:
    """Erasing follows the answer within moments."""
    for _ in range(200):
        found = answer_of(service, reader, id, after)
        if found == "[erased]":
            return found
        time.sleep(0.02)
    return found


def test_after_an_erasure_the_text_is_nowhere_and_the_log_is_as_it_was(service: Service, request_of: Ask) -> None:
    conninfo = service.settings.database_url or ""
    id, position = written_by(service, request_of, "ella", SECRET)
    assert answer_of(service, "olga", id, position) == SECRET
    record, backup = record_at(service, position), dump(conninfo)
    masters = {file.name: file.read_bytes() for file in (service.settings.data / "keys").iterdir()}

    erased = service.done("root", "/subjects/ella/erasure", {"reason": "She asked for it"})

    for reader in ("olga", "ella", "abe"):
        assert until_erased(service, reader, id, erased["position"]) == "[erased]"
    assert record_at(service, position) == record
    kept = dump(conninfo)
    assert SECRET.encode() not in kept + backup
    assert not any(file.read_bytes() in masters.values() for file in (service.settings.data / "keys").iterdir())
    listed = service.get("abe", "/events?person=ella&type=InformationProvided").text
    assert SECRET not in listed and "[erased]" in listed


def test_a_text_of_somebody_else_is_still_read_after_an_erasure(service: Service, request_of: Ask) -> None:
    id, _ = written_by(service, request_of, "otto", "Mine")
    gone, _ = written_by(service, request_of, "emil", "Gone")
    erased = service.done("root", "/subjects/emil/erasure", {})
    assert until_erased(service, "olga", gone, erased["position"]) == "[erased]"
    assert answer_of(service, "olga", id, erased["position"]) == "Mine"


def test_a_legal_hold_refuses_an_erasure_and_says_which(service: Service, request_of: Ask) -> None:
    written_by(service, request_of, "hugo", "Evidence")
    hold = service.done("root", "/legal-holds", {"person": "hugo", "reason": "Smith v. Tinker"})
    refused = problem(service.post("root", "/subjects/hugo/erasure", {}), 409, "legal_hold")
    assert refused["missing"] == [f"the release of hold {hold['id']}"]
    shown = service.read("root", f"/legal-holds/{hold['id']}", hold["position"])
    assert (shown["person"], shown["state"]) == ("hugo", "standing")
    freed = service.done("root", f"/legal-holds/{hold['id']}/release", {"reason": "Settled"})
    assert service.read("abe", "/legal-holds?person=hugo", freed["position"])["items"][0]["state"] == "released"
    erased = service.done("root", "/subjects/hugo/erasure", {})
    assert service.read("abe", "/subjects/hugo", erased["position"])["erased"] is not None


def test_who_keeps_no_records_learns_nothing_of_holds_and_erases_nobody(service: Service) -> None:
    hold = service.done("root", "/legal-holds", {"person": "tom", "reason": "Inquiry"})
    for person in ("hana", "tom", "rae"):
        problem(service.get(person, "/legal-holds"), 403, "authority")
        problem(service.get(person, f"/legal-holds/{hold['id']}"), 403, "authority")
        problem(service.post(person, f"/legal-holds/{hold['id']}/release", {}), 404, "need_to_know")
        problem(service.post(person, "/subjects/tom/erasure", {}), 403, "authority")
    service.done("root", f"/legal-holds/{hold['id']}/release", {})


def test_the_master_keys_are_for_us_alone(service: Service, request_of: Ask) -> None:
    written_by(service, request_of, "paula", "Something")
    files: list[Path] = list((service.settings.data / "keys").iterdir())
    assert len(files) == 1 and files[0].stat().st_mode & 0o077 == 0
