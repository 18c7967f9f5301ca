"""What is attacked? A service in a process of its own, on a history in which there is something of every kind."""

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from domain.authority import READS, Reading
from services.api_keys import token_of
from services.assent import MIGRATIONS
from services.http.commands import COMMANDS, PREFIX
from services.http.identity import BACKDATE, DevelopmentIssuer
from services.migrations import migrate
from services.postgres import EmbeddedPostgres
from services.settings import Settings
from tests.benchmarks.service import serving_on
from tests.conftest import FAST
from tests.domain import test_authority as authority
from tests.projections.shelf import append
from tests.services.http import test_matrix as matrix

LEFT_OUT = ("/api/v1/development/clock",)
"""Whoever moves the clock moves it for everybody; it is there in development mode alone, on loopback."""

LEARNED_MAX = 40
"""Of each kind, so many ids of what was made during the attack are kept in mind, the newest."""

UNLIMITED = {
    "ASSENT_COMMANDS_PER_SECOND": "0",
    "ASSENT_EVALUATIONS_PER_SECOND": "0",
    "ASSENT_READS_PER_SECOND": "0",
    "ASSENT_FAILED_SIGN_INS_PER_SECOND": "0",
    "ASSENT_LOGINS_PER_MINUTE": "0",
}
"""Whoever attacks from one address would soon be answered 429, and nothing else."""

KINDS = {
    "organizations": "organization",
    "policies": "policy",
    "calendars": "calendar",
    "releases": "release",
    "requests": "request",
    "grants": "grant",
    "directives": "directive",
    "keys": "key",
    "legal-holds": "hold",
    "subjects": "subject",
}
"""What stands behind each address under /api/v1."""

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody with a role; `offices` as Acting-As names them."""

    name: str
    token: str | None
    backdating: str | None
    offices: tuple[str, ...]

    def header(self, backdating: bool = False) -> str | None:
        token = self.backdating if backdating else self.token
        return None if token is None else f"Bearer {token}"


class Known:
    """Names, ids and numbers of what exists: by the name of the parameter or field that may hold them."""

    def __init__(self) -> None:
        people = [*authority.PEOPLE, "nina", "olga", "rae", "ended", "recused", "delegate"]
        agencies = ["oncd", "ostp", "bis"]
        self._of: dict[str, list[Any]] = {
            "agency": agencies,
            "organization": [*agencies, "openai", "anthropic", "northwind", "tinker", "assent"],
            "customer": ["northwind", "tinker"],
            "provider": ["openai", "anthropic"],
            "release": ["gpt-5.6"],
            "releases": [["gpt-5.6"]],
            "organizations": [["tinker"], ["northwind"]],
            "tier": ["standard"],
            "tiers": [["standard"]],
            "policy": ["both"],
            "calendar": ["us-federal"],
            "request": ["nw", "no", "again", "old"],
            "grant": ["g", "g2"],
            "directive": ["d"],
            "key": ["k", *(id for id, _, _ in matrix.MACHINES.values())],
            "hold": ["h"],
            "subject": people,
            "person": people,
            "role": ["reviewer", "countersigner", "head", "applicant", "release_manager", "gateway"],
            "phase": ["preview", "wide"],
            "to a size": [2, 5],
            "to a phase": ["preview", "wide"],
            "to a person": people,
            "to a point": ["5", "2026-06-20T13:00:00Z"],
            "number": [1, 2],
            "condition": [1, 2],
            "change": [1],
            "renews": ["g"],
            "waiting_on": [*agencies, "applicant", "registrar", "decider"],
            "stream": ["request-nw", "grant-g", "release-gpt-5.6"],
            "position": [0, 1, 7],
            "at": ["0", "3", "2026-06-20T13:00:00Z"],
            "occurred_at": ["2026-06-20T13:00:00Z"],
            "after": [0, 3],
            "from a size": [1],
            "from a point": ["0", "2026-06-20T12:00:00Z"],
            "level": ["0"],
            "place": ["000.p/1", "000"],
        }
        self._learned: dict[str, list[Any]] = {}

    def of(self, name: str, path: str) -> list[Any]:
        """What is known for a parameter or field of an address; nothing where no such thing is known."""
        if path.startswith("/login"):
            return []
        name = _SENSES.get((path, name), name)
        kind = KINDS.get(path.removeprefix(f"{PREFIX}/").split("/")[0], "") if name == "id" else name
        return [*self._of.get(kind, ()), *self._learned.get(kind, ())]

    def learn(self, answer: Mapping[str, Any]) -> None:
        """From what a command answered: what it made, or changed."""
        kind = answer["stream"][: -len(answer["id"]) - 1]
        made = self._learned.setdefault(kind, [])
        if answer["id"] not in self.of(kind, ""):
            made.append(answer["id"])
            del made[:-LEARNED_MAX]

    def learn_cursor(self, cursor: Any) -> None:
        found = self._learned.setdefault("cursor", [])
        found.append(cursor)
        del found[:-LEARNED_MAX]


_SENSES = {
    ("/api/v1/trail", "subject"): "stream",
    ("/api/v1/trail", "from"): "occurred_at",
    ("/api/v1/trail", "to"): "occurred_at",
    ("/api/v1/dashboards/activity", "from"): "from a point",
    ("/api/v1/dashboards/activity", "to"): "to a point",
    ("/api/v1/dashboards/activity_counts", "from"): "from a point",
    ("/api/v1/dashboards/activity_counts", "to"): "to a point",
    ("/api/v1/diff", "from"): "from a point",
    ("/api/v1/diff", "to"): "to a point",
    ("/api/v1/log/consistency", "from"): "from a size",
    ("/api/v1/log/consistency", "to"): "to a size",
    ("/api/v1/trail/consistency", "from"): "from a size",
    ("/api/v1/trail/consistency", "to"): "to a size",
    ("/api/v1/organizations/{organization}/delegations", "to"): "to a person",
    ("/api/v1/releases/{release}/phase", "to"): "to a phase",
    ("/api/v1/releases/{release}/rollback", "to"): "to a phase",
}
"""Where a name means something else than at most addresses."""


@dataclass(frozen=True, slots=True)
class Target:
    """A service under attack: its address, what it says of itself, and who calls."""

    address: str
    document: Document
    callers: tuple[Caller, ...]
    known: Known

    def who_may(self, method: str, path: str) -> list[Caller]:
        """Those whom the tables of the tests name for an operation."""
        return [caller for caller in self.callers if caller.name in _may(method, path)]


@contextmanager
def attacked() -> Iterator[Target]:
    """The service on a fresh database. Its clock stands where its history ends. Raises Unmeasured."""
    story = matrix.everything()
    with tempfile.TemporaryDirectory(prefix="assent-fuzz-") as name:
        data = Path(name, "data")
        with EmbeddedPostgres(data, FAST) as conninfo:
            migrate(conninfo, MIGRATIONS)
            append(conninfo, story.facts)
            told = {"ASSENT_CLOCK": "manual", "ASSENT_CLOCK_START": story.now.isoformat()}
            with serving_on(data, conninfo, "project,sign,timers,feed", told={**told, **UNLIMITED}) as service:
                address = service.address
                document = httpx.get(f"{address}/openapi.json").raise_for_status().json()
                paths = {path: item for path, item in document["paths"].items() if path not in LEFT_OUT}
                yield Target(address, {**document, "paths": paths}, _callers(data), Known())


def _callers(data: Path) -> tuple[Caller, ...]:
    issuer = DevelopmentIssuer(replace(Settings(), data=data))
    found = []
    for name in matrix.CALLERS:
        if name in matrix.MACHINES:
            found.append(Caller(name, token_of(matrix.MACHINES[name][0], matrix.SECRET), None, ()))
        elif name == "without a token":
            found.append(Caller(name, None, None, ()))
        else:
            person = matrix.NAMES.get(name, name)
            offices = (name.replace(".", "/"),) if name in authority.PEOPLE else ()
            found.append(Caller(name, issuer.issue(person), issuer.issue(person, (BACKDATE,)), offices))
    return tuple(found)


@cache
def _may(method: str, path: str) -> frozenset[str]:
    if method == "POST" and path.startswith(f"{PREFIX}/"):
        schema = COMMANDS[path.removeprefix(PREFIX)]
        return frozenset(re.split(r"\s+", " ".join(may for asked, may in authority.MAY if type(asked) is schema)))
    if path in matrix.READ:
        return frozenset(matrix.READ[path][1])
    assert READS[path] is Reading.ANYONE, path
    return frozenset()
