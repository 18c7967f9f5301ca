"""What was the life of one stream? Read through the library's event store, told in plain words."""

from contextlib import closing
from datetime import datetime
from typing import Any

from eventsourcing.persistence import EventStore

from domain.facts import Fact
from domain.fields import Label
from projections.history import Entry, entry
from services.log.recorders import Factory


def facts_of(conninfo: str, stream: str) -> list[Fact]:
    """All facts of a stream, in order of version, as the library's EventStore gives them."""
    environment = {"DATABASE_URL": conninfo, "MAPPER_TOPIC": "services.log.record:AssentMapper"}
    with closing(Factory(environment)) as factory:
        store: EventStore[Any] = EventStore(factory.mapper(), factory.application_recorder())
        found: list[Any] = list(store.get(stream))
        return found


def life(conninfo: str, stream: str, at: datetime | None = None) -> list[Entry]:
    """The history for the operator at the terminal, who sees what auditors see; `at` leaves out what came later."""
    facts = (fact for fact in facts_of(conninfo, stream) if at is None or fact.recorded <= at)
    return [told for fact in facts if (told := entry(fact, Label.AUDITOR)) is not None]
