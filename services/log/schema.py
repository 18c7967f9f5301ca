"""Which tables hold a log, and what may happen to them?

A database has two logs: that of what was decided, and the trail of who read what. Both have the same tables and the
same functions, each in a schema of its own; whatever works on one works on the other by way of its `Ledger`.

Everything is append-only. `append` is the only way in: it assigns the positions itself, so nobody can forge one, and it
needs READ COMMITTED, because what it reads after the lock must be what the last holder of the lock wrote.
"""

from dataclasses import dataclass

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from services.migrations import Migration

LOG_LOCK = 0x41535345
"""The advisory lock that an append holds until its commit."""

CHANNEL = "assent_log"
"""NOTIFY goes here once per append, with the new size; a hint, never the truth."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """One log of the database: its schema, and by which locks and on which channel its processes meet."""

    schema: str
    append_lock: int
    signer_lock: int
    channel: str

    def within(self, conninfo: str) -> str:
        """The database as a connection sees it whose unqualified tables and functions are this log's."""
        if self.schema == "public":
            return conninfo
        before = conninfo_to_dict(conninfo).get("options")
        options = f"{before or ''} -c search_path={self.schema},pg_temp".strip()
        return make_conninfo(conninfo, options=options)


MAIN = Ledger("public", LOG_LOCK, 0x5349474E, CHANNEL)
TRAIL = Ledger("trail", 0x54524149, 0x54534947, "assent_trail")

_TABLES = """
CREATE TABLE event (
    position bigint PRIMARY KEY CHECK (position >= 0),
    stream text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    type text COLLATE "C" NOT NULL,
    command_key bytea UNIQUE,
    fingerprint bytea,
    record bytea NOT NULL CHECK (octet_length(record) <= 65535),
    leaf bytea NOT NULL CHECK (octet_length(leaf) = 32),
    UNIQUE (stream, version)
);
COMMENT ON TABLE event IS 'The log. record is the exact JSON that was hashed into leaf; never serialised again.';

CREATE TABLE tree_head (
    size bigint PRIMARY KEY CHECK (size > 0),
    root bytea NOT NULL CHECK (octet_length(root) = 32),
    frontier bytea NOT NULL CHECK (octet_length(frontier) = 32 * bit_count(size::bit(64)))
);
COMMENT ON TABLE tree_head IS 'One row per append: the RFC 6962 root, and those of the perfect subtrees at its edge.';

CREATE TABLE checkpoint (
    size bigint PRIMARY KEY CHECK (size >= 0),
    note text NOT NULL
);
COMMENT ON TABLE checkpoint IS 'Signed tree heads (C2SP signed notes).';

CREATE TABLE tile (
    level smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
    index bigint NOT NULL CHECK (index >= 0),
    hashes bytea NOT NULL CHECK (octet_length(hashes) = 510 * 32),
    PRIMARY KEY (level, index)
);
ALTER TABLE tile ALTER COLUMN hashes SET STORAGE EXTERNAL;
COMMENT ON TABLE tile IS 'Complete C2SP tiles: 256 hashes, then the 128, 64, …, 2 above, so that proofs read nodes.';

CREATE VIEW event_json AS
SELECT position, stream, version, type, convert_from(record, 'UTF8')::json AS record FROM event;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'The log is append-only: % on % is refused.', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;
"""

_TRIGGERS = "".join(
    f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {table} "
    "FOR EACH ROW EXECUTE FUNCTION refuse_change();\n"
    f"CREATE TRIGGER never_truncated BEFORE TRUNCATE ON {table} "
    "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();\n"
    for table in ("event", "tree_head", "checkpoint", "tile")
)


def _append(ledger: Ledger) -> str:
    schema = ledger.schema
    return f"""
CREATE FUNCTION append(
    expected_size bigint, streams text[], versions bigint[], types text[], command_keys bytea[], fingerprints bytea[],
    records bytea[], leaves bytea[], new_root bytea, new_frontier bytea, other_keys bytea[],
    OUT size_found bigint, OUT used_keys bytea[]
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp SET enable_seqscan = off AS $$
DECLARE
    new_size CONSTANT bigint := expected_size + cardinality(records);
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'append needs READ COMMITTED' USING ERRCODE = 'invalid_transaction_state';
    END IF;
    PERFORM pg_advisory_xact_lock({ledger.append_lock});
    SELECT coalesce(max(size), 0) INTO size_found FROM tree_head;
    IF size_found <> expected_size THEN
        RETURN;
    END IF;
    SELECT array_agg(command_key) INTO used_keys FROM event WHERE command_key = ANY (command_keys || other_keys);
    IF used_keys IS NOT NULL OR new_size = expected_size THEN
        RETURN;
    END IF;
    INSERT INTO event (position, stream, version, type, command_key, fingerprint, record, leaf)
    SELECT expected_size + nth - 1, stream, version, type, command_key, fingerprint, record, leaf
    FROM unnest(streams, versions, types, command_keys, fingerprints, records, leaves)
        WITH ORDINALITY AS new (stream, version, type, command_key, fingerprint, record, leaf, nth);
    INSERT INTO tree_head (size, root, frontier) VALUES (new_size, new_root, new_frontier);
    PERFORM pg_notify('{ledger.channel}', new_size::text);
END $$;
COMMENT ON FUNCTION append IS 'All or nothing; nothing unless the log has the expected size and no key was used.';
REVOKE ALL ON FUNCTION append FROM PUBLIC;
"""  # noqa: S608 - one of the two schemas, and constants


def _position_at(ledger: Ledger) -> str:
    return f"""
CREATE FUNCTION recorded_at(wanted bigint) RETURNS timestamptz LANGUAGE sql STABLE
SET search_path = pg_catalog, {ledger.schema}, pg_temp
RETURN (SELECT (convert_from(record, 'UTF8')::json ->> 'recorded')::timestamptz FROM event WHERE position = wanted);

CREATE FUNCTION position_at(instant timestamptz) RETURNS bigint LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, {ledger.schema}, pg_temp AS $$
DECLARE
    low bigint := -1;
    high bigint := (SELECT coalesce(max(position), -1) FROM event);
    middle bigint;
BEGIN
    WHILE low < high LOOP
        middle := (low + high + 1) / 2;
        IF recorded_at(middle) <= instant THEN
            low := middle;
        ELSE
            high := middle - 1;
        END IF;
    END LOOP;
    RETURN low;
END $$;
COMMENT ON FUNCTION position_at IS 'The last position recorded at or before the instant; -1 before the first.';
"""  # noqa: S608 - one of the two schemas


_WITNESSED = """
CREATE TABLE cosignature (
    size bigint NOT NULL,
    witness text COLLATE "C" NOT NULL,
    line text NOT NULL,
    PRIMARY KEY (size, witness)
);
CREATE INDEX ON cosignature (witness, size);
COMMENT ON TABLE cosignature IS 'What witnesses signed (C2SP tlog-cosignature): a signature line of the note.';

CREATE VIEW cosigned_checkpoint AS
SELECT size, note || coalesce(
    (SELECT string_agg(line, '' ORDER BY witness) FROM cosignature WHERE cosignature.size = checkpoint.size), ''
) AS note FROM checkpoint;
COMMENT ON VIEW cosigned_checkpoint IS 'Checkpoints as they are shown: with the cosignatures that came by now.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON cosignature FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON cosignature FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

_LIBRARY = """
CREATE TABLE tracking (
    application text COLLATE "C" PRIMARY KEY,
    notification_id bigint NOT NULL
);
COMMENT ON TABLE tracking IS 'How far a consumer of the library came: the notification id (position + 1) it took last.';

CREATE TABLE snapshot (
    stream text COLLATE "C",
    version bigint,
    topic text COLLATE "C" NOT NULL,
    state bytea NOT NULL,
    PRIMARY KEY (stream, version)
);
COMMENT ON TABLE snapshot IS 'What an application of the library kept to load faster; no part of the log.';
"""

_OF_THE_TRAIL = """
CREATE FUNCTION subjects_of(record bytea) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN ARRAY(SELECT jsonb_array_elements_text(convert_from(record, 'UTF8')::jsonb -> 'data' -> 'subjects'));
COMMENT ON FUNCTION subjects_of IS 'The streams that a record of the trail is about.';

CREATE INDEX event_subjects ON event USING gin (subjects_of(record));
CREATE INDEX event_type ON event (type, position);
"""


def _second(ledger: Ledger, more: str) -> str:
    """The log's tables and functions once more, in a schema of their own, and what only this one has."""
    tables = _TABLES + _TRIGGERS + _append(ledger) + _position_at(ledger) + _WITNESSED + more
    return (
        f"CREATE SCHEMA {ledger.schema};\nSET LOCAL search_path = {ledger.schema}, pg_temp;\n"
        f"{tables}SET LOCAL search_path = DEFAULT;\n"
    )


MIGRATIONS: tuple[Migration, ...] = (
    Migration(1, "log", _TABLES + _TRIGGERS + _append(MAIN) + _position_at(MAIN)),
    Migration(2, "library", _LIBRARY),
    Migration(10, "witnesses", _WITNESSED),
    Migration(30, "trail", _second(TRAIL, _OF_THE_TRAIL)),
)
