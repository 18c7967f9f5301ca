"""How does the `eventsourcing` library read and write the log? By its PERSISTENCE_MODULE=services.log.recorders.

A thin, synchronous door. Settings: DATABASE_URL (a conninfo string); ORIGINATOR_ID_TYPE (`text`, the default, or
`uuid`); MAPPER_TOPIC=services.log.record:AssentMapper for Assent's own facts. The library counts notifications from 1:
its notification id is position + 1, here and nowhere else.
"""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import eventsourcing.persistence as library
import psycopg
from eventsourcing.persistence import IntegrityError, Notification, StoredEvent, Tracking
from eventsourcing.utils import Environment, EnvType, resolve_topic
from psycopg import Connection
from psycopg.rows import tuple_row
from psycopg_pool import ConnectionPool, PoolTimeout

from services.log.merkle import Frontier, leaf_hash
from services.log.record import recorded_at, seal, state_of
from services.log.schema import CHANNEL, LOG_LOCK

POOL_SIZE_MAX = 10
TIMEOUT_SECONDS = 30.0
"""How long a caller waits for a connection."""

POLL_SECONDS = 1.0
RETRY_SECONDS = 0.5

_LAST = 2**63 - 1
_HEAD = "SELECT size, frontier, record FROM tree_head JOIN event ON position = size - 1 ORDER BY size DESC LIMIT 1"
_EVENTS = """
    SELECT version, type, record FROM event WHERE stream = %s AND version > %s AND version <= %s
    ORDER BY version * %s LIMIT %s"""
_SNAPSHOTS = """
    SELECT version, topic, state FROM snapshot WHERE stream = %s AND version > %s AND version <= %s
    ORDER BY version * %s LIMIT %s"""
_NOTIFICATIONS = """
    SELECT position, stream, version, type, record FROM event WHERE position >= %s AND position < %s
    AND (%s OR type = ANY (%s::text[])) ORDER BY position LIMIT %s"""

StreamName = UUID | str


class Database:
    """The connections of one factory, and the library's names for what goes wrong on them."""

    def __init__(self, conninfo: str, uuids: bool = False, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.conninfo = conninfo
        self.uuids = uuids
        self._pool: ConnectionPool[Connection[Any]] = ConnectionPool(
            conninfo,
            min_size=1,
            max_size=POOL_SIZE_MAX,
            timeout=timeout_seconds,
            open=True,
            kwargs={"autocommit": True},
        )

    @contextmanager
    def connection(self) -> Iterator[Connection[Any]]:
        """A connection in autocommit mode. Raises the library's errors; ProgrammingError on an event loop."""
        _refuse_event_loop()
        with as_library_errors(), self._pool.connection() as conn:
            yield conn

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.connection() as conn:
            return _rows(conn, query, *values)

    def name_of(self, stream: str) -> StreamName:
        """The originator id that a stream's name stands for."""
        return UUID(stream) if self.uuids else stream

    def close(self) -> None:
        self._pool.close()


def _refuse_event_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise library.ProgrammingError("A synchronous recorder would block the event loop: call it from a thread.")


def _rows(conn: Connection[Any], query: str, *values: Any) -> list[tuple[Any, ...]]:
    with conn.cursor(row_factory=tuple_row, binary=True) as cursor:
        return cursor.execute(query, values).fetchall()


@contextmanager
def as_library_errors() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise library.OperationalError(str(error)) from error
    except psycopg.IntegrityError as error:
        raise IntegrityError(str(error)) from error
    except psycopg.ProgrammingError as error:
        raise library.ProgrammingError(str(error)) from error
    except psycopg.DataError as error:
        raise library.DataError(str(error)) from error
    except psycopg.InterfaceError as error:
        raise library.InterfaceError(str(error)) from error
    except psycopg.OperationalError as error:
        raise library.OperationalError(str(error)) from error
    except psycopg.Error as error:
        raise library.DatabaseError(str(error)) from error


def _refuse_known_versions(conn: Connection[Any], events: Sequence[StoredEvent]) -> None:
    """Most conflicts are seen here, without the lock that every append needs; the unique constraint sees the rest."""
    found = _rows(
        conn,
        "SELECT stream, version FROM event JOIN unnest(%s::text[], %s::bigint[]) AS new (stream, version) "
        "USING (stream, version) LIMIT 1",
        [str(event.originator_id) for event in events],
        [event.originator_version for event in events],
    )
    if found:
        raise IntegrityError(f"Version {found[0][1]} of {found[0][0]} was recorded before.")


def append(conn: Connection[Any], events: Sequence[StoredEvent]) -> list[int]:
    """Append stored events in the transaction under way; their notification ids."""
    conn.execute("SELECT pg_advisory_xact_lock(%s)", (LOG_LOCK,))
    head = _rows(conn, _HEAD)
    size, frontier, last = head[0] if head else (0, b"", None)
    recorded = datetime.now(UTC)
    if last is not None:
        recorded = max(recorded, recorded_at(last))
    records = [
        seal(size + nth, str(event.originator_id), event.originator_version, event.topic, recorded, event.state)
        for nth, event in enumerate(events)
    ]
    leaves = [leaf_hash(record) for record in records]
    tree = Frontier(size, frontier)
    tree.extend(leaves)
    none = [None] * len(records)
    conn.execute(
        "SELECT append(%s, %s::text[], %s::bigint[], %s::text[], %s::bytea[], %s::bytea[], %s::bytea[], %s::bytea[], "
        "%s, %s, '{}')",
        (
            size,
            [str(event.originator_id) for event in events],
            [event.originator_version for event in events],
            [event.topic for event in events],
            none,
            none,
            records,
            leaves,
            tree.root(),
            bytes(tree),
        ),
    )
    return [size + nth + 1 for nth in range(len(records))]


def track(conn: Connection[Any], tracking: Tracking) -> None:
    """Note how far a consumer came, in the transaction under way. Raises IntegrityError unless that is further."""
    found = _rows(
        conn,
        "INSERT INTO tracking AS known (application, notification_id) VALUES (%s, %s) ON CONFLICT (application) "
        "DO UPDATE SET notification_id = excluded.notification_id "
        "WHERE known.notification_id < excluded.notification_id RETURNING true",
        tracking.application_name,
        tracking.notification_id,
    )
    if not found:
        raise IntegrityError(f"{tracking.application_name} has come to {tracking.notification_id} already.")


class AssentRecorder:
    """What all recorders share: the database they work on."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database


R = TypeVar("R", bound=AssentRecorder)


def _range(
    stream: StreamName, gt: int | None, lte: int | None, desc: bool, limit: int | None
) -> tuple[str, int, int, int, int | None]:
    """The values of a query for a range of versions, in ascending (1) or descending (-1) order."""
    return str(stream), -1 if gt is None else gt, _LAST if lte is None else lte, -1 if desc else 1, limit


class AssentAggregateRecorder(AssentRecorder, library.AggregateRecorder):
    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        self._insert(stored_events, **kwargs)
        return None

    def _insert(self, events: Sequence[StoredEvent], tracking: Tracking | None = None, **_: Any) -> list[int]:
        if not events and tracking is None:
            return []
        with self.database.connection() as conn:
            _refuse_known_versions(conn, events)
            with conn.transaction():
                if tracking is not None:
                    track(conn, tracking)
                return append(conn, events) if events else []

    def select_events(
        self,
        originator_id: StreamName,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        found = self.database.rows(_EVENTS, *_range(originator_id, gt, lte, desc, limit))
        return [StoredEvent(originator_id, version, type_, state_of(record)) for version, type_, record in found]


class AssentSnapshotRecorder(AssentRecorder, library.AggregateRecorder):
    """Snapshots are no acts: they stay out of the log."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        with self.database.connection() as conn, conn.transaction(), conn.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO snapshot (stream, version, topic, state) VALUES (%s, %s, %s, %s)",
                [(str(each.originator_id), each.originator_version, each.topic, each.state) for each in stored_events],
            )
        return None

    def select_events(
        self,
        originator_id: StreamName,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        found = self.database.rows(_SNAPSHOTS, *_range(originator_id, gt, lte, desc, limit))
        return [StoredEvent(originator_id, version, topic, state) for version, topic, state in found]


class AssentApplicationRecorder(AssentAggregateRecorder, library.ApplicationRecorder):
    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        return self._insert(stored_events, **kwargs)

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        first = 0 if start is None else start - 1 if inclusive_of_start else start
        found = self.database.rows(
            _NOTIFICATIONS, first, _LAST if stop is None else stop, not topics, list(topics), limit
        )
        return [
            Notification(self.database.name_of(stream), version, type_, state_of(record), position + 1)
            for position, stream, version, type_, record in found
        ]

    def max_notification_id(self) -> int | None:
        found = self.database.rows("SELECT max(position) + 1 FROM event")
        largest: int | None = found[0][0]
        return largest

    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> library.Subscription[library.ApplicationRecorder]:
        return AssentSubscription(self, gt, topics)


class AssentTrackingRecorder(AssentRecorder, library.TrackingRecorder):
    def insert_tracking(self, tracking: Tracking) -> None:
        with self.database.connection() as conn:
            track(conn, tracking)

    def max_tracking_id(self, application_name: str) -> int | None:
        found = self.database.rows("SELECT notification_id FROM tracking WHERE application = %s", application_name)
        return found[0][0] if found else None


class AssentProcessRecorder(AssentTrackingRecorder, AssentApplicationRecorder, library.ProcessRecorder):
    pass


class AssentSubscription(library.ListenNotifySubscription[AssentApplicationRecorder]):
    """LISTEN is active before the first pull; polls as a fall-back; a lost connection is made again.

    Its connection closes at most a poll after the subscription was stopped.
    """

    def __init__(self, recorder: AssentApplicationRecorder, gt: int | None, topics: Sequence[str]) -> None:
        _refuse_event_loop()
        with as_library_errors():
            self._conn = self._listen(recorder.database.conninfo)
        super().__init__(recorder, gt, topics)
        threading.Thread(target=self._loop_on_listen, daemon=True).start()

    @staticmethod
    def _listen(conninfo: str) -> Connection[Any]:
        conn = psycopg.connect(conninfo, autocommit=True)
        conn.execute(f"LISTEN {CHANNEL}")
        return conn

    def _loop_on_listen(self) -> None:
        while not self._has_been_stopped:
            try:
                for _ in self._conn.notifies(timeout=POLL_SECONDS, stop_after=1):
                    pass
            except psycopg.Error:
                threading.Event().wait(RETRY_SECONDS)
                try:
                    self._conn = self._listen(self._recorder.database.conninfo)
                except psycopg.OperationalError:
                    continue
            self._has_been_notified.set()
        self._conn.close()

    def _pull(self) -> None:
        try:
            super()._pull()
        except library.OperationalError:
            return  # the poll asks again


class Factory(library.InfrastructureFactory[AssentTrackingRecorder]):
    """Makes the recorders on the database that DATABASE_URL names. Its tables come from `services.migrations`."""

    DATABASE_URL = "DATABASE_URL"
    ORIGINATOR_ID_TYPE = "ORIGINATOR_ID_TYPE"

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        conninfo = self.env.get(self.DATABASE_URL)
        if not conninfo:
            raise library.InfrastructureFactoryError(f"{self.DATABASE_URL} names no database.")
        kind = self.env.get(self.ORIGINATOR_ID_TYPE) or "text"
        if kind not in ("text", "uuid"):
            raise library.InfrastructureFactoryError(f"{self.ORIGINATOR_ID_TYPE} is text or uuid, not {kind!r}.")
        self.database = Database(conninfo, uuids=kind == "uuid")

    def aggregate_recorder(self, purpose: str = "events") -> library.AggregateRecorder:
        return AssentAggregateRecorder(self.database) if purpose == "events" else AssentSnapshotRecorder(self.database)

    def application_recorder(self) -> library.ApplicationRecorder:
        return self._chosen(self.APPLICATION_RECORDER_TOPIC, AssentApplicationRecorder)(self.database)

    def tracking_recorder(
        self, tracking_recorder_class: type[AssentTrackingRecorder] | None = None
    ) -> AssentTrackingRecorder:
        chosen = tracking_recorder_class or self._chosen(self.TRACKING_RECORDER_TOPIC, AssentTrackingRecorder)
        return chosen(self.database)

    def process_recorder(self) -> library.ProcessRecorder:
        return self._chosen(self.PROCESS_RECORDER_TOPIC, AssentProcessRecorder)(self.database)

    def _chosen(self, topic_name: str, default: type[R]) -> type[R]:
        topic = self.env.get(topic_name)
        if not topic:
            return default
        chosen: type[R] = resolve_topic(topic)
        if not issubclass(chosen, default):
            raise library.InfrastructureFactoryError(f"{topic_name} names no {default.__name__}: {topic}.")
        return chosen

    def close(self) -> None:
        self.database.close()
