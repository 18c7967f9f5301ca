"""How many events a second does the `eventsourcing` library project into the same rows, in its own way?

`python -m tests.benchmarks.library_projection CONNINFO EVENTS` lets a ProjectionRunner project the first events of a
log: each event's rows, and how far that is, in a transaction of its own. Streams are folded in memory, as ours are.
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import psycopg
from eventsourcing.application import Application
from eventsourcing.persistence import Tracking
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg import Connection, sql
from psycopg.conninfo import make_conninfo

from domain.facts import Fact
from projections import directives, grants, organizations, policies, releases, requests
from projections.state_table import StateTable
from projections.statements import Row
from projections.streams import kind_of
from projections.views import Views, folded
from services.log import recorders
from services.log.recorders import AssentTrackingRecorder, track

SCHEMA = "library_v1"
TABLES = tuple(each.TABLE for each in (organizations, policies, releases, requests, grants, directives))
TIMEOUT_SECONDS = 600.0


class Upsert:
    """What is written of a changed row: what it said before goes to the past, and it says something else."""

    def __init__(self, table: StateTable) -> None:
        names = list(table.columns)
        values = {
            "current": sql.Identifier(SCHEMA, f"{table.name}_current"),
            "past": sql.Identifier(SCHEMA, f"{table.name}_past"),
            "key": sql.SQL(", ").join(map(sql.Identifier, table.key)),
            "given": sql.SQL(", ").join([sql.Placeholder()] * len(table.key)),
            "row": sql.SQL(", ").join([sql.Placeholder()] * (len(names) + 1)),
            "others": sql.SQL(", ").join(
                sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in (*names, "since")
            ),
        }
        self.close = sql.SQL("INSERT INTO {past} SELECT *, %s FROM {current} WHERE ({key}) = ({given})").format(
            **values
        )
        self.put = sql.SQL("INSERT INTO {current} VALUES ({row}) ON CONFLICT ({key}) DO UPDATE SET {others}").format(
            **values
        )
        self.key_places = [names.index(name) for name in table.key]


_CLOSE = "INSERT INTO {past} SELECT *, %s FROM {current} WHERE ({key}) = ({given})"
_PUT = "INSERT INTO {current} VALUES ({row}) ON CONFLICT ({key}) DO UPDATE SET {others}"


UPSERTS = {table.name: Upsert(table) for table in TABLES}


class States(AssentTrackingRecorder):
    """The view: rows of states, and how far they go."""

    def keep(self, rows: Iterable[tuple[StateTable, Row]], position: int, tracking: Tracking) -> None:
        with self.database.connection() as conn, conn.transaction():
            for table, row in rows:
                upsert = UPSERTS[table.name]
                key = [row[place] for place in upsert.key_places]
                conn.execute(upsert.close, [position, *key])
                conn.execute(upsert.put, [*row[:-1], msgspec.json.encode(row[-1]).decode(), position])
            track(conn, tracking)


class StatesOfStreams(Projection[States]):
    name = "states"

    def __init__(self, view: States) -> None:
        super().__init__(view)
        self.streams: dict[str, Views] = defaultdict(Views)

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        fact: Fact = domain_event
        before = self.streams[fact.stream]
        after = self.streams[fact.stream] = folded(before, fact)
        self.view.keep(changed(fact, before, after), fact.position, tracking)


def changed(fact: Fact, before: Views, after: Views) -> Iterator[tuple[StateTable, Row]]:
    """The rows that a fact has changed."""
    for table in TABLES:
        if kind_of(fact) in table.kinds:
            for view in table.views:
                stream = getattr(after, view)
                if stream is not getattr(before, view) and stream.state is not None:
                    yield from ((table, row) for row in table.rows(fact.stream, view, stream))


def prepare(conn: "Connection[Any]") -> None:
    """Tables with the keys that writing needs, and no other index."""
    conn.execute(sql.SQL("DROP SCHEMA IF EXISTS {0} CASCADE; CREATE SCHEMA {0}").format(sql.Identifier(SCHEMA)))
    conn.execute("DELETE FROM tracking")
    for table in TABLES:
        conn.execute(table.create(SCHEMA))
        for name in table.tables:
            places = sql.Identifier(SCHEMA, name), sql.Identifier(f"{table.name}_{name}")
            conn.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(*places))
        key = sql.SQL(", ").join(map(sql.Identifier, table.key))
        current = sql.Identifier(SCHEMA, f"{table.name}_current")
        conn.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(current, key))


def projected(conninfo: str, events: int) -> float:
    """Events a second, by a runner that begins at the beginning of the log."""
    env = {
        "PERSISTENCE_MODULE": recorders.__name__,
        "MAPPER_TOPIC": "services.log.record:AssentMapper",
        "DATABASE_URL": make_conninfo(conninfo, options="-c synchronous_commit=off"),
    }
    began = time.perf_counter()
    with ProjectionRunner(
        application_class=Application[str], projection_class=StatesOfStreams, view_class=States, env=env
    ) as runner:
        runner.wait(events, TIMEOUT_SECONDS)
        seconds = time.perf_counter() - began
        return (runner.view.max_tracking_id(runner.app_name) or 0) / seconds


def read_and_folded(conninfo: str, events: int) -> float:
    """Events a second that are only read through the library's notification log and mapper, and folded."""
    app = Application[str](
        env={
            "PERSISTENCE_MODULE": recorders.__name__,
            "MAPPER_TOPIC": "services.log.record:AssentMapper",
            "DATABASE_URL": conninfo,
        }
    )
    streams: dict[str, Views] = defaultdict(Views)
    began = time.perf_counter()
    start = 1
    while start <= events:
        notifications = app.recorder.select_notifications(start, 1000)
        for notification in notifications:
            fact: Fact = app.mapper.to_domain_event(notification)
            streams[fact.stream] = folded(streams[fact.stream], fact)
        start += len(notifications)
    seconds = time.perf_counter() - began
    app.close()
    return (start - 1) / seconds


if __name__ == "__main__":
    with psycopg.connect(sys.argv[1], autocommit=True) as conn:
        prepare(conn)
        size = conn.execute("SELECT count(*) FROM event").fetchone() or (0,)
    events = min(int(sys.argv[2]), size[0])
    rates = {"per_second": projected(sys.argv[1], events), "read_per_second": read_and_folded(sys.argv[1], events)}
    with psycopg.connect(sys.argv[1], autocommit=True) as conn:
        conn.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(SCHEMA)))
        conn.execute("DELETE FROM tracking")
    json.dump(rates, sys.stdout)
