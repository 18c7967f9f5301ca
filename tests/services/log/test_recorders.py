"""Does the library find in our recorders what it demands of any? Its own test cases, unmodified, on our log."""

import asyncio
import os
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import psycopg
import pytest
from eventsourcing.persistence import (
    InfrastructureFactoryError,
    IntegrityError,
    OperationalError,
    ProgrammingError,
    StoredEvent,
    Tracking,
)
from eventsourcing.tests import application, persistence, projection
from eventsourcing.utils import Environment, get_topic

from services.log import recorders, schema
from services.log.merkle import Frontier, leaf_hash
from services.log.recorders import (
    AssentAggregateRecorder,
    AssentApplicationRecorder,
    AssentProcessRecorder,
    AssentTrackingRecorder,
    Database,
    Factory,
)
from services.migrations import migrate


class OnOurLog:
    """A fresh database for each test; everything that was opened is closed."""

    @pytest.fixture(autouse=True)
    def _database(self, database: str) -> Iterator[None]:
        self.conninfo = database
        self.opened = Database(database, uuids=True)
        with patch.dict(os.environ, settings(database)):
            yield
        self.opened.close()


def settings(conninfo: str) -> dict[str, str]:
    return {"PERSISTENCE_MODULE": recorders.__name__, "DATABASE_URL": conninfo, "ORIGINATOR_ID_TYPE": "uuid"}


class TestAggregateRecorder(OnOurLog, persistence.AggregateRecorderTestCase):
    def create_recorder(self) -> AssentAggregateRecorder:
        return AssentAggregateRecorder(self.opened)


class TestApplicationRecorder(OnOurLog, persistence.ApplicationRecorderTestCase[AssentApplicationRecorder]):
    def create_recorder(self) -> AssentApplicationRecorder:
        return AssentApplicationRecorder(self.opened)

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestNonInterleavingNotificationIds(OnOurLog, persistence.NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self) -> AssentApplicationRecorder:
        return AssentApplicationRecorder(self.opened)


class TestTrackingRecorder(OnOurLog, persistence.TrackingRecorderTestCase):
    def create_recorder(self) -> AssentTrackingRecorder:
        return AssentTrackingRecorder(self.opened)


class TestProcessRecorder(OnOurLog, persistence.ProcessRecorderTestCase):
    def create_recorder(self) -> AssentProcessRecorder:
        return AssentProcessRecorder(self.opened)


class OtherTrackingRecorder(AssentTrackingRecorder):
    pass


class TestInfrastructureFactory(OnOurLog, persistence.InfrastructureFactoryTestCase[Factory]):
    def setUp(self) -> None:
        self.env = Environment("TestCase", settings(self.conninfo))
        super().setUp()

    def expected_factory_class(self) -> type[Factory]:
        return Factory

    def expected_aggregate_recorder_class(self) -> type[AssentAggregateRecorder]:
        return AssentAggregateRecorder

    def expected_application_recorder_class(self) -> type[AssentApplicationRecorder]:
        return AssentApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[AssentTrackingRecorder]:
        return AssentTrackingRecorder

    def tracking_recorder_subclass(self) -> type[AssentTrackingRecorder]:
        return OtherTrackingRecorder

    def expected_process_recorder_class(self) -> type[AssentProcessRecorder]:
        return AssentProcessRecorder


class TestExampleApplication(OnOurLog, application.ExampleApplicationTestCase):
    expected_factory_topic = get_topic(Factory)


class TestApplication(OnOurLog, application.ApplicationTestCase):
    pass


class TestEventSourcedProjection(OnOurLog, projection.EventSourcedProjectionTestCase):
    """One database is one application sequence: a projection that writes events of its own has its own."""

    @pytest.fixture(autouse=True)
    def _projections_own_database(self, empty_database: str) -> Iterator[None]:
        migrate(empty_database, schema.MIGRATIONS)
        with patch.dict(os.environ, {f"{projection.Counters.name.upper()}_DATABASE_URL": empty_database}):
            yield


@pytest.fixture
def recorder(database: str) -> Iterator[AssentProcessRecorder]:
    opened = Database(database)
    yield AssentProcessRecorder(opened)
    opened.close()


def stored(version: int = 1, state: bytes = b"state", stream: str = "request-1", topic: str = "Topic") -> StoredEvent:
    return StoredEvent(stream, version, topic, state)


def test_what_the_library_appends_is_in_the_tree(recorder: AssentProcessRecorder) -> None:
    recorder.insert_events([stored(1), stored(2)])
    recorder.insert_events([stored(3)])
    rows = recorder.database.rows("SELECT record FROM event ORDER BY position")
    tree = Frontier()
    tree.extend(leaf_hash(record) for (record,) in rows)
    assert recorder.database.rows("SELECT size, root, frontier FROM tree_head ORDER BY size DESC LIMIT 1") == [
        (3, tree.root(), bytes(tree))
    ]


@pytest.mark.parametrize("state", [b"", b"\x00\xff", b'{"occurred":1}', b"[1, 2]", "é\N{SNOWMAN}".encode()])
def test_any_bytes_come_back_as_they_were(recorder: AssentProcessRecorder, state: bytes) -> None:
    recorder.insert_events([stored(state=state)])
    assert recorder.select_events("request-1")[0].state == state
    assert recorder.select_notifications(start=1, limit=1)[0].state == state


def test_the_notification_id_is_the_position_plus_one(recorder: AssentProcessRecorder) -> None:
    assert recorder.insert_events([stored(1), stored(2)]) == [1, 2]
    assert recorder.database.rows("SELECT position FROM event ORDER BY position") == [(0,), (1,)]
    assert recorder.max_notification_id() == 2


def test_tracking_and_events_are_one_append(recorder: AssentProcessRecorder) -> None:
    recorder.insert_events([stored()], tracking=Tracking("upstream", 7))
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored()], tracking=Tracking("upstream", 8))
    assert recorder.max_tracking_id("upstream") == 7


async def test_a_recorder_called_on_the_event_loop_refuses(database: str) -> None:
    opened = await asyncio.to_thread(Database, database)
    recorder = AssentProcessRecorder(opened)
    try:
        with pytest.raises(ProgrammingError, match="event loop"):
            recorder.insert_events([stored()])
        with pytest.raises(ProgrammingError, match="event loop"):
            recorder.select_events("request-1")
        with pytest.raises(ProgrammingError, match="event loop"):
            recorder.subscribe()
        assert await asyncio.to_thread(recorder.insert_events, [stored()]) == [1]
    finally:
        await asyncio.to_thread(opened.close)


def test_a_subscription_outlives_its_connection(recorder: AssentProcessRecorder) -> None:
    recorder.insert_events([stored(1)])
    with recorder.subscribe() as subscription:
        assert next(subscription).id == 1
        kill_listeners(recorder.database.conninfo)
        recorder.insert_events([stored(2)])
        assert next(subscription).id == 2


def kill_listeners(conninfo: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as conn:
        killed = conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'LISTEN%'"
        ).fetchall()
    assert killed


def test_snapshots_stay_out_of_the_log(database: str) -> None:
    factory = Factory({"DATABASE_URL": database})
    snapshots = factory.aggregate_recorder("snapshots")
    snapshots.insert_events([stored(3), stored(5)])
    assert [each.originator_version for each in snapshots.select_events("request-1", desc=True, limit=1)] == [5]
    assert factory.application_recorder().max_notification_id() is None
    factory.close()


@pytest.mark.parametrize("env", [{}, {"DATABASE_URL": "dbname=x", "ORIGINATOR_ID_TYPE": "number"}])
def test_a_factory_without_its_settings_says_which(env: dict[str, Any]) -> None:
    with pytest.raises(InfrastructureFactoryError, match=r"DATABASE_URL|ORIGINATOR_ID_TYPE"):
        Factory(env)


def test_a_stream_named_by_a_uuid_is_given_back_as_one(database: str) -> None:
    opened, name = Database(database, uuids=True), uuid4()
    recorder = AssentApplicationRecorder(opened)
    recorder.insert_events([StoredEvent(name, 1, "Topic", b"state")])
    assert recorder.select_notifications(start=1, limit=1)[0].originator_id == UUID(str(name))
    opened.close()


def test_a_server_that_is_gone_is_an_operational_error() -> None:
    opened = Database("host=/nowhere dbname=none connect_timeout=1", timeout_seconds=0.5)
    with pytest.raises(OperationalError):
        AssentApplicationRecorder(opened).max_notification_id()
    opened.close()
