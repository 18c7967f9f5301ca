"""Which settings does Assent have, what do they mean, and what did the environment say?

Each one is (name, default, sentence): docs/settings.md is `describe()`, and a test compares the two.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from services.known_issuers import KnownIssuer, is_safe_address, known_issuers
from services.log.cosign import KnownWitness, known_witness
from services.log.note import ED25519, NoteRefused, Verifier

T = TypeVar("T")

PREFIX = "ASSENT_"

DOORS_MAX = 16
Network = IPv4Network | IPv6Network


class BadSetting(Exception):
    """The environment holds a setting that does not exist or a value it cannot have; the message says what would do."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known about one setting: its variable, its default as text, how to read it, and what it means."""

    name: str
    default: str
    read: Callable[[str], Any]
    sentence: str


def _setting(name: str, default: str, read: Callable[[str], T], sentence: str) -> Any:
    return field(default_factory=lambda: read(default), metadata={"setting": Setting(name, default, read, sentence)})


def _text(value: str) -> str:
    if not value or value != value.strip():
        raise ValueError("a text without spaces around it")
    return value


def _folder(value: str) -> Path:
    if not value:
        raise ValueError("a folder")
    return Path(value).expanduser().absolute()


def _optional_path(value: str) -> Path | None:
    return Path(value).expanduser().absolute() if value else None


def _database_url(value: str) -> str:
    """A character of a password that is not escaped would make the rest of it a part of the host, for all to see."""
    if not value:
        return value
    try:
        said = conninfo_to_dict(value) if value.startswith(("postgresql://", "postgres://")) else None
    except psycopg.Error:
        said = None
    if said is None:
        raise ValueError("an address such as postgresql://user@host/database, or nothing")
    place = f"{said.get('host', '')}{said.get('dbname', '')}"
    if "@" in place or not re.fullmatch(r"[0-9,]*", str(said.get("port", ""))):
        raise ValueError("an address whose password has %40 for @, %2F for /, %3A for :, %3F for ? and %23 for #")
    return value


def _address(value: str) -> str:
    parts = urlsplit(value)
    whole = f"{parts.scheme}://{parts.netloc}".lower()
    if value and (value != whole or parts.scheme not in ("https", "http") or not parts.hostname or parts.username):
        raise ValueError("scheme and host in small letters and nothing behind them, such as https://assent.example")
    return value


def _instant(value: str) -> datetime | None:
    if not value:
        return None
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise ValueError("a time with its zone, such as 2026-01-05T14:00:00Z")
    return instant


def _log_keys(value: str) -> tuple[Verifier, ...]:
    try:
        keys = tuple(Verifier.parse(key) for key in value.split())
    except NoteRefused as refused:
        raise ValueError(f"verifier keys with spaces between them ({refused})") from None
    if any(key.kind != ED25519 for key in keys):
        raise ValueError("keys of logs, such as `assent log key` prints")
    return keys


def _witnesses(value: str) -> tuple[KnownWitness, ...]:
    try:
        found = tuple(known_witness(each) for each in value.split(",") if each.strip())
    except ValueError:
        raise ValueError("`KEY URL` of each witness, with commas between them") from None
    if len({each.key.name for each in found}) < len(found):
        raise ValueError("each witness once, told apart by the names of their keys")
    return found


def _hosts(value: str) -> frozenset[str]:
    found = frozenset(filter(None, value.lower().split(",")))
    for each in found:
        parts = urlsplit(f"//{each}")
        if parts.netloc != each or parts.hostname != each or parts.hostname == "":
            raise ValueError("names of hosts without ports, with commas between them, such as assent,assent.example")
    return found


def _networks(value: str) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(each.strip()) for each in value.split(",") if each.strip())
    except ValueError:
        raise ValueError("addresses or networks with commas between them, such as 10.0.0.7,fd00::/64") from None


def _key_name(value: str) -> str:
    if not value or "+" in value or any(each.isspace() for each in value):
        raise ValueError("a name without spaces or plus signs")
    return value


def _one_of(*choices: str) -> Callable[[str], Any]:
    def read(value: str) -> str:
        if value not in choices:
            raise ValueError("one of " + ", ".join(choices))
        return value

    return read


def _some_of(*choices: str) -> Callable[[str], frozenset[str]]:
    def read(value: str) -> frozenset[str]:
        found = frozenset(filter(None, value.split(",")))
        if not found <= set(choices):
            raise ValueError(f"some of {', '.join(choices)}, with commas between them, or nothing")
        return found

    return read


def _doors(value: str) -> int | None:
    try:
        return None if value == "auto" else _number(0, DOORS_MAX)(value)
    except ValueError:
        raise ValueError(f"auto, or a whole number from 0 to {DOORS_MAX}") from None


def _number(least: int, most: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        if not (value.isascii() and value.isdigit() and least <= int(value[:12]) <= most):
            raise ValueError(f"a whole number from {least} to {most}")
        return int(value)

    return read


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What Assent was told by its environment; without arguments, the defaults."""

    data: Path = _setting("ASSENT_DATA", ".assent", _folder, "Folder of the embedded database and of the keys.")
    database_url: str = _setting(
        "DATABASE_URL", "", _database_url, "Use this Postgres (15 or newer) instead of the embedded one."
    )
    database_url_file: Path | None = _setting(
        "DATABASE_URL_FILE", "", _optional_path, "File that holds the value of `DATABASE_URL`: a secret of a container."
    )
    database_logins: Path | None = _setting(
        "DATABASE_LOGINS",
        "",
        _optional_path,
        "Folder of the database's roles, where an operator made them: a file for each part, as docs/roles.md says.",
    )
    host: str = _setting("ASSENT_HOST", "127.0.0.1", _text, "Address to listen on.")
    port: int = _setting("ASSENT_PORT", "8000", _number(0, 65_535), "Port to listen on; 0 takes a free one.")
    mode: Literal["development", "production"] = _setting(
        "ASSENT_MODE",
        "development",
        _one_of("development", "production"),
        "`development` has a token issuer of its own, and listens on this machine only; `production` has neither.",
    )
    roles: frozenset[str] = _setting(
        "ASSENT_ROLES",
        "project,sign,timers,feed",
        _some_of("project", "sign", "timers", "feed"),
        "What `serve` does beside serving; what it leaves out, `project`, `timers` and `feed` do as processes of their"
        " own.",
    )
    doors: int | None = _setting(
        "ASSENT_DOORS",
        "auto",
        _doors,
        "Processes that take requests for the one that decides; 0: it takes them itself. `auto` is 1 where there are"
        " more than three processors, else 0.",
    )
    clock: Literal["real", "manual"] = _setting(
        "ASSENT_CLOCK",
        "real",
        _one_of("real", "manual"),
        "`manual` stands still until it is moved, so that months play in seconds (development mode only).",
    )
    clock_start: datetime | None = _setting("ASSENT_CLOCK_START", "", _instant, "Time at which a manual clock starts.")
    root: str = _setting("ASSENT_ROOT", "root", _text, "Person who is the first administrator.")
    issuers: tuple[KnownIssuer, ...] = _setting(
        "ASSENT_ISSUERS",
        "",
        known_issuers,
        "Identity providers (OpenID Connect) that vouch for people: a JSON array, as docs/identity.md describes it.",
    )
    url: str = _setting(
        "ASSENT_URL",
        "",
        _address,
        "Address by which browsers and gateways reach the service, such as `https://assent.example`; login needs it.",
    )
    hosts: frozenset[str] = _setting(
        "ASSENT_HOSTS",
        "",
        _hosts,
        "Further names by which the service is reached, with commas between them. Other names are refused, in"
        " development always, in production as soon as this or `ASSENT_URL` is set.",
    )
    session_hours: int = _setting(
        "ASSENT_SESSION_HOURS", "12", _number(1, 24 * 30), "How long a login in a browser lasts at most."
    )
    session_idle_minutes: int = _setting(
        "ASSENT_SESSION_IDLE_MINUTES", "30", _number(2, 24 * 60), "How long it lasts without being used."
    )
    origin: str = _setting(
        "ASSENT_ORIGIN", "assent.localhost/log", _text, "The log's name in its signed checkpoints; never changes."
    )
    witnesses: tuple[KnownWitness, ...] = _setting(
        "ASSENT_WITNESSES",
        "",
        _witnesses,
        "Witnesses that are asked to cosign checkpoints: `KEY URL` of each, with commas between them.",
    )
    witness_name: str = _setting(
        "ASSENT_WITNESS_NAME", "assent.localhost/witness", _key_name, "Name of the key of `assent witness`."
    )
    witness_logs: tuple[Verifier, ...] = _setting(
        "ASSENT_WITNESS_LOGS",
        "",
        _log_keys,
        "Logs that `assent witness` cosigns: their verifier keys, with spaces between them; of one log, all it had.",
    )
    queue_max: int = _setting(
        "ASSENT_QUEUE_MAX", "4096", _number(1, 1_000_000), "Commands that may wait; one more is answered 503."
    )
    body_bytes_max: int = _setting(
        "ASSENT_BODY_BYTES_MAX", "262144", _number(1_024, 67_108_864), "Largest body of a request, in bytes."
    )
    request_seconds: int = _setting(
        "ASSENT_REQUEST_SECONDS",
        "30",
        _number(1, 3_600),
        "How long a request may take to arrive, from its first byte, or from the connection, to its last.",
    )
    commands_per_second: int = _setting(
        "ASSENT_COMMANDS_PER_SECOND",
        "0",
        _number(0, 1_000_000),
        "Commands that a person may send, at once and in each second after that; 0 is no limit. Whoever sends more is"
        " answered 429, here and below, and each process that serves counts for itself.",
    )
    evaluations_per_second: int = _setting(
        "ASSENT_EVALUATIONS_PER_SECOND",
        "0",
        _number(0, 1_000_000),
        "Requests of a person or a machine's key for evaluations or searches, in the same way; 0 is no limit.",
    )
    reads_per_second: int = _setting(
        "ASSENT_READS_PER_SECOND",
        "1000",
        _number(0, 1_000_000),
        "Reads of a person or a machine's key, in the same way; 0 is no limit.",
    )
    failed_sign_ins_per_second: int = _setting(
        "ASSENT_FAILED_SIGN_INS_PER_SECOND",
        "100",
        _number(0, 1_000_000),
        "Tokens, keys, cookies and codes of a login that let nobody in, from one network address; 0 is no limit."
        " Whoever comes from there with a token that is known already is let in all the same.",
    )
    logins_per_minute: int = _setting(
        "ASSENT_LOGINS_PER_MINUTE",
        "120",
        _number(0, 1_000_000),
        "Logins that browsers at one network address may begin, at once and in each minute after that; 0 is no limit.",
    )
    proxies: tuple[Network, ...] = _setting(
        "ASSENT_PROXIES",
        "",
        _networks,
        "Proxies before the service, addresses or networks with commas between them. They are believed when they say,"
        " in X-Forwarded-For or Forwarded, from which address a request comes; nobody else is.",
    )
    log_format: Literal["auto", "json", "text"] = _setting(
        "ASSENT_LOG_FORMAT",
        "auto",
        _one_of("auto", "json", "text"),
        "What the processes write to stderr: lines of JSON, or text for people; `auto`: text on a terminal, else JSON.",
    )
    access_requests: Literal["on", "off"] = _setting(
        "ASSENT_ACCESS_REQUESTS",
        "off",
        _one_of("on", "off"),
        "Whether a refused evaluation tells how to apply, and applications are taken at `/access/v1/requests`:"
        " AuthZEN's draft, as docs/access.md describes it.",
    )
    access_log: Literal["on", "off"] = _setting(
        "ASSENT_ACCESS_LOG",
        "off",
        _one_of("on", "off"),
        "Whether each answered request is a line there too: by whom, which route, what status, how many milliseconds.",
    )
    states_max: int = _setting(
        "ASSENT_STATES_MAX", "100000", _number(1, 100_000_000), "Streams whose state is kept in memory for deciding."
    )

    def door_count(self, processors: int) -> int:
        """How many doors there are with so many processors. A manual clock is in one process alone."""
        if self.clock == "manual":
            return 0
        return int(processors > 3) if self.doors is None else self.doors


SETTINGS: tuple[Setting, ...] = tuple(each.metadata["setting"] for each in fields(Settings))
_FIELDS = {each.metadata["setting"].name: each.name for each in fields(Settings)}
_DATABASE_URL = next(each for each in SETTINGS if each.name == "DATABASE_URL")


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings that the environment's variables make; BadSetting for an unknown name or an impossible value."""
    for name in environment:
        if name.startswith(PREFIX) and name not in _FIELDS:
            near = get_close_matches(name, _FIELDS, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise BadSetting(f"There is no setting {name}.{hint} docs/settings.md lists them all.")
    given = {_FIELDS[each.name]: _read(each, environment[each.name]) for each in SETTINGS if each.name in environment}
    settings = _with_secrets(Settings(**given))
    if settings.clock == "manual" and settings.mode != "development":
        raise BadSetting("ASSENT_CLOCK=manual works in development mode only: in production, time is not ours to set.")
    if settings.clock == "manual" and settings.clock_start is None:
        raise BadSetting("ASSENT_CLOCK=manual needs ASSENT_CLOCK_START, the time at which the clock starts.")
    if not all(is_safe_address(each.issuer, settings.mode == "development") for each in settings.issuers):
        raise BadSetting("ASSENT_ISSUERS names an address that is not https: whoever is on the way could speak for it.")
    has_login = any(each.has_login for each in settings.issuers)
    if settings.mode != "development" and not settings.url.startswith("https://") and (settings.url or has_login):
        raise BadSetting("ASSENT_URL must be an https address: a browser's login is not for whoever is on the way.")
    return settings


def _with_secrets(settings: Settings) -> Settings:
    if settings.database_url_file is None:
        return settings
    if settings.database_url:
        raise BadSetting("DATABASE_URL and DATABASE_URL_FILE say the same thing twice; keep one of them.")
    try:
        value = settings.database_url_file.read_text().strip()
    except OSError as error:
        raise BadSetting(f"DATABASE_URL_FILE must be a file that can be read: {error}.") from error
    return replace(settings, database_url=_read(_DATABASE_URL, value))


def _read(setting: Setting, value: str) -> Any:
    try:
        return setting.read(value)
    except ValueError as wanted:
        shown = "another value" if setting.name == "DATABASE_URL" else repr(value)
        raise BadSetting(f"{setting.name} must be {wanted}; it is {shown}.") from None


def describe() -> str:
    """The page docs/settings.md, in Markdown."""
    rows = [
        f"| `{each.name}` | {f'`{each.default}`' if each.default else '–'} | {each.sentence} |" for each in SETTINGS
    ]
    head = [
        "# Settings",
        "",
        "Assent is told everything by environment variables. An unknown `ASSENT_…` variable is refused at the start.",
        "",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    return "\n".join([*head, *rows]) + "\n"
