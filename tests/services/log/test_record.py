"""Is a record the exact JSON that DESIGN names, read back as the fact that it was?"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from eventsourcing.persistence import EventStore
from eventsourcing.utils import get_topic
from hypothesis import given
from hypothesis import strategies as st

from domain.facts import By, Fact
from domain.organization import OrganizationChanged, PersonAppointed
from domain.policy import Clocks, GrantTerms, PolicyPublished
from domain.rulebook import EVENTS
from domain.sign_offs import AllOf, AtLeast, Leaf
from services.log import record
from services.log.record import RECORD_BYTES_MAX, AssentMapper, RecordTooLarge
from services.log.recorders import Factory

NOON = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)
LATER = datetime(2026, 3, 2, 12, 0, 1, 250, tzinfo=UTC)
RENAMED = OrganizationChanged(name="ONCD")
HEAD = By("ada", "oncd", "head", via=("grace",))


def fact(event: Any = RENAMED, **changes: Any) -> Fact:
    values: dict[str, Any] = {
        "position": 7, "stream": "organization-oncd", "version": 3, "recorded": LATER, "occurred": NOON, "by": HEAD,
        "command": "c1", "cause": 5, "event": event, "salt": "00" * 16,
    }  # fmt: skip
    return Fact(**(values | changes))


def test_a_record_is_json_with_these_keys_in_this_order() -> None:
    assert record.seal_fact(fact(PersonAppointed("bob", "reviewer", NOON))) == (
        b'{"position":7,"stream":"organization-oncd","version":3,"type":"PersonAppointed",'
        b'"recorded":"2026-03-02T12:00:01.000250Z","occurred":"2026-03-02T12:00:00Z",'
        b'"by":{"person":"ada","organization":"oncd","role":"head","via":["grace"]},'
        b'"command":"c1","cause":5,"salt":"00000000000000000000000000000000",'
        b'"data":{"person":"bob","role":"reviewer","starts":"2026-03-02T12:00:00Z","until":null}}'
    )


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.datetimes(timezones=st.just(UTC)),
    st.none() | st.integers(0, 2**62),
)
def test_a_fact_comes_back_as_it_was(name: str, stream: str, recorded: datetime, cause: int | None) -> None:
    written = fact(OrganizationChanged(name=name), stream=stream, recorded=recorded, cause=cause)
    sealed = record.seal_fact(written)
    assert record.read(sealed) == written
    assert record.recorded_at(sealed) == recorded
    assert json.loads(sealed)["stream"] == stream


def test_a_record_is_the_same_bytes_whether_its_tail_was_made_before_or_not() -> None:
    told = fact(PersonAppointed("bob", "reviewer", NOON))
    head = (told.position, told.stream, told.version, told.type, told.recorded)
    assert record.seal_fact(told) == record.seal(*head, record.tail(told))


def test_every_record_gets_a_salt_of_sixteen_random_bytes() -> None:
    salts = {record.read(record.seal_fact(fact(salt=""))).salt for _ in range(10)}
    assert len(salts) == 10
    assert {len(bytes.fromhex(salt)) for salt in salts} == {16}


def test_a_record_holds_at_most_65535_bytes() -> None:
    empty = len(record.seal_fact(fact(OrganizationChanged(name=""))))
    fits = fact(OrganizationChanged(name="x" * (RECORD_BYTES_MAX - empty)))
    assert len(record.seal_fact(fits)) == RECORD_BYTES_MAX
    with pytest.raises(RecordTooLarge):
        record.seal_fact(fact(OrganizationChanged(name="x" * (RECORD_BYTES_MAX - empty + 1))))


def test_a_field_that_an_old_record_lacks_has_its_default() -> None:
    old = record.seal_fact(fact()).replace(b'"name":"ONCD",', b"")
    assert record.read(old).event == OrganizationChanged(name=None)


def test_an_event_that_nobody_knows_is_not_read() -> None:
    with pytest.raises(msgspec.ValidationError, match="SomethingElse"):
        record.read(record.seal_fact(fact()).replace(b"OrganizationChanged", b"SomethingElse"))


@pytest.mark.parametrize("state", [b"", b"\xff\x00", b'{"occurred":"2026-03-02T12:00:00Z"}'])
def test_foreign_bytes_are_wrapped_and_never_taken_for_facts(state: bytes) -> None:
    sealed = record.seal(0, "stream", 1, "OrganizationChanged", NOON, state)
    assert list(json.loads(sealed)) == ["position", "stream", "version", "type", "recorded", "state"]
    assert record.state_of(sealed) == state
    with pytest.raises(msgspec.ValidationError):
        record.read(sealed)


def test_the_library_gives_facts_through_its_event_store(database: str) -> None:
    factory = Factory({"DATABASE_URL": database, "MAPPER_TOPIC": get_topic(AssentMapper)})
    store: EventStore[str] = factory.event_store()
    written = [fact(position=nth, version=nth + 1, cause=None) for nth in range(3)]
    store.put(written)  # type: ignore[arg-type]
    found: Sequence[Any] = list(store.get("organization-oncd"))
    factory.close()
    assert [(each.position, each.version, each.event, each.by) for each in found] == [
        (each.position, each.version, each.event, each.by) for each in written
    ]
    assert all(each.recorded > LATER for each in found), "the log's own time, not the caller's"


def test_every_event_of_the_rule_book_can_be_read() -> None:
    for name in EVENTS:
        record._event_decoder(name)


def test_a_policys_tree_comes_back_as_it_was() -> None:
    tree = AllOf((Leaf("commerce", quorum=2, countersign=True), AtLeast(1, (Leaf("oncd"), Leaf("ostp")))))
    event = PolicyPublished("EO 1", tree, "deny", False, Clocks(review_days=30), GrantTerms(days=365), NOON)
    assert record.read(record.seal_fact(fact(event))).event == event
