"""Key: which machine may read for an organization, by which secret, and until when?

A key holds one office of its organization, for reading alone: no machine signs, decides or revokes anything. The log
knows a secret by its hash only.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from hmac import compare_digest
from typing import Annotated, Literal, assert_never

from domain import organization
from domain.errors import KeyIsRevoked, Malformed, NamesUnknown, NotFound
from domain.facts import By, Event, Fact
from domain.fields import AuditorOnly, Bounds, Identifier, Minted, Slug, Text
from domain.organization import OrganizationKind, Role
from domain.values import replace, unguarded
from domain.world import World

KIND = "key"
Ids = Callable[[], str]
Scope = Literal["access", "read", "export"]
"""`access`: evaluations, searches and the feed of grants; `read`: lists, documents and dashboards; `export`: files."""

PERSON = f"{KIND}."
"""A key acts under the name `key.<id>`."""

OFFICES: dict[OrganizationKind, Role] = {
    "provider": "gateway",
    "agency": "reviewer",
    "customer": "applicant",
    "assent": "auditor",
}
"""As whom the key of such an organization reads."""

DAYS_MOST = 366
DAYS_USUAL = 90


def stream(key: str) -> str:
    return f"{KIND}-{key}"


def person(key: str) -> str:
    return f"{PERSON}{key}"


# Events: these names and fields are the storage format; they are forever.


@dataclass(frozen=True, slots=True)
class KeyIssued:
    """A machine of the organization may read with this key, until then (excluded). `digest`: SHA-256 in hexadecimal."""

    organization: str
    role: Role
    name: str
    scopes: tuple[Scope, ...]
    until: datetime
    digest: AuditorOnly[str]


@dataclass(frozen=True, slots=True)
class KeyRotated:
    """It has a new secret; the one before is good until then (excluded), and any older one no longer."""

    previous_until: datetime
    digest: AuditorOnly[str]


@dataclass(frozen=True, slots=True)
class KeyRevoked:
    """No secret of the key is good any more."""

    reason: str = ""


# State


@unguarded
@dataclass(frozen=True, slots=True)
class Key:
    """`digest` is that of the secret of today, `previous` that of the one before it."""

    id: str
    organization: str
    role: Role
    name: str
    scopes: tuple[Scope, ...]
    issued: datetime
    until: datetime
    digest: str
    previous: str = ""
    previous_until: datetime | None = None
    rotated: datetime | None = None
    revoked: datetime | None = None

    def in_force(self, now: datetime) -> bool:
        return self.revoked is None and now < self.until

    def accepts(self, digest: str, now: datetime) -> bool:
        """Whether that is the hash of a secret which is good now."""
        if not self.in_force(now):
            return False
        of_before = self.previous_until is not None and now < self.previous_until
        return compare_digest(digest, self.digest) or (of_before and compare_digest(digest, self.previous))


def find(world: World, key: str) -> Key | None:
    return world.state(stream(key), Key)


# Commands


@dataclass(frozen=True, slots=True)
class IssueKey:
    """Give a machine of an organization a key."""

    organization: Slug
    name: Text
    scopes: Annotated[tuple[Scope, ...], Bounds(1, 3)]
    until: datetime | None = None
    digest: Minted = ""


@dataclass(frozen=True, slots=True)
class RotateKey:
    """Give the key a new secret. The one before stays good for some hours, so that machines can change over."""

    key: Identifier
    overlap_hours: Annotated[int, Bounds(0, 168)] = 24
    digest: Minted = ""


@dataclass(frozen=True, slots=True)
class RevokeKey:
    """Let the key open nothing any more, from now on."""

    key: Identifier
    reason: Annotated[str, Bounds(0, 10_000)] = ""


Command = IssueKey | RotateKey | RevokeKey


def decide(command: Command, world: World, by: By, now: datetime, ids: Ids) -> Iterator[tuple[str, Event]]:
    match command:
        case IssueKey():
            issued = issue(command, world, now)
            yield stream(ids()), issued
        case RotateKey(id, overlap_hours, digest):
            here = _in_force(world, id, now)
            yield stream(id), KeyRotated(min(now + timedelta(hours=overlap_hours), here.until), digest)
        case RevokeKey(id, reason):
            _in_force(world, id, now)
            yield stream(id), KeyRevoked(reason)
        case _:
            assert_never(command)


def issue(command: IssueKey, world: World, now: datetime) -> KeyIssued:
    here = organization.find(world, command.organization)
    if here is None:
        raise NamesUnknown(
            f"There is no organization {command.organization!r}.", f"organization {command.organization}"
        )
    until = command.until or now + timedelta(days=DAYS_USUAL)
    if not now < until <= now + timedelta(days=DAYS_MOST):
        raise Malformed(f"A key is good for at most {DAYS_MOST} days.", "an `until` within that time")
    if "access" in command.scopes and here.kind != "provider":
        raise Malformed("Gateways are a provider's: `access` is for its keys.", "the scopes read, export")
    scopes = tuple(dict.fromkeys(command.scopes))
    return KeyIssued(here.id, OFFICES[here.kind], command.name, scopes, until, command.digest)


def _in_force(world: World, id: str, now: datetime) -> Key:
    here = find(world, id)
    if here is None:
        raise NotFound
    if not here.in_force(now):
        raise KeyIsRevoked(f"Key {id} is {'revoked' if here.revoked else 'past its time'}.", "a key in force")
    return here


def evolve(state: Key | None, fact: Fact) -> Key | None:
    match fact.event:
        case KeyIssued(of, role, name, scopes, until, digest):
            id = fact.stream.removeprefix(f"{KIND}-")
            return Key(id, of, role, name, scopes, fact.occurred, until, digest)
    if state is None:
        return None
    match fact.event:
        case KeyRotated(previous_until, digest):
            return replace(
                state,
                digest=digest,
                previous=state.digest,
                previous_until=previous_until,
                rotated=fact.occurred,
            )
        case KeyRevoked():
            return replace(state, revoked=fact.occurred)
        case _:
            return state
