"""How is a request made? Drawn from the description, or against it, then with names of what exists in some places."""

import secrets
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core import NOT_SET
from schemathesis.core.parameters import ParameterLocation

from services.http.reads import POSITION_MAX
from tests.fuzzing.target import Caller, Document, Known

Case = Any
"""A `schemathesis.Case`: one request."""

UNKNOWN_FIELD = "a_field_that_nobody_knows"

NAMING = ("/api/v1/organizations", "/api/v1/releases", "/api/v1/organizations/{organization}/affiliates")
"""Where the body's `id` is the name of something new."""

SPARED = 0.9
"""So many of the commands that end what others need are dry runs: or else nothing would be left soon."""


WAITED_FOR = ("min_position", "position")
"""Positions that gateways name are such as exist: for one that is not written yet, 503 is promised, after a while."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as it goes out: who sends it, and whether something in it is against the description."""

    case: Case
    caller: Caller
    headers: dict[str, str]
    is_negative: bool
    has_unknown_field: bool


class Operations:
    """Every operation of a description, without its securities: who calls is drawn apart from what is asked."""

    def __init__(self, document: Document) -> None:
        without = deepcopy(document)
        without["components"].pop("securitySchemes")
        self.secured = set()
        for path, item in without["paths"].items():
            for method, operation in item.items():
                if operation.pop("security", []):
                    self.secured.add(f"{method.upper()} {path}")
        self._schema = schemathesis.openapi.from_dict(without)
        self._schema.config.output.sanitization.update(enabled=False)
        self._schema.config.checks.negative_data_rejection.expected_statuses = ["4xx"]
        self._operations = {found.ok().label: found.ok() for found in self._schema.get_all_operations()}
        self.examples = {
            label: content["application/json"].get("example")
            for label, operation in self._operations.items()
            if (content := operation.definition.raw.get("requestBody", {}).get("content"))
        }
        self.labels = sorted(self._operations)
        self.feeds = {
            label
            for label, operation in self._operations.items()
            if "text/event-stream" in operation.definition.raw["responses"].get("200", {}).get("content", {})
        }
        self._strategy = cache(lambda label, mode: self._operations[label].as_strategy(generation_mode=mode))

    def draw(self, label: str, count: int, seed_: int, take: Callable[[Case], None]) -> None:
        """Up to `count` requests of an operation, two of five against its description where that is possible."""
        against = round(count * 0.4)
        for mode, share in ((GenerationMode.POSITIVE, count - against), (GenerationMode.NEGATIVE, against)):
            drawn = settings(
                max_examples=share,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )(given(self._strategy(label, mode))(take))
            try:
                seed(seed_)(drawn)()
            except Unsatisfiable:  # nothing can be wrong about an operation that takes nothing
                continue


ENDING = ("/changes", "/withdrawal", "/end", "/revocation", "/surrender", "/erasure", "/return", "/decision")


def dressed(case: Case, caller: Caller, known: Known, example: Any, random: Random, *, is_apt: bool) -> Sent:
    """The request with the caller's token, and known names for some of the drawn ones; `is_apt`: the caller may."""
    is_negative = case.meta is not None and case.meta.generation.mode.is_negative
    is_well_meant = is_apt and not is_negative
    share = 0.95 if is_well_meant else 0.5
    if not _is_against(case, ParameterLocation.PATH):
        case.path_parameters = named(case.path_parameters, case.path, known, random, share)
    if not _is_against(case, ParameterLocation.QUERY) and isinstance(case.query, dict):
        case.query = named(case.query, case.path, known, random, share)
        if case.path.endswith(ENDING) and random.random() < SPARED:
            case.query = {"dry_run": "true"}
    has_unknown_field = False
    if case.body is not NOT_SET and not _is_against(case, ParameterLocation.BODY):
        drawn = example if example is not None and random.random() < share / 2 else case.body
        body = named(drawn, case.path, known, random, share)
        if isinstance(body, dict) and "id" in body and case.path in NAMING and random.random() < share:
            body["id"] = f"new-{secrets.token_hex(4)}"
        if isinstance(body, dict) and random.random() < 0.08:
            random.choice(_objects(body))[UNKNOWN_FIELD] = 1
            has_unknown_field = True
        case.body = body
    if case.path.startswith("/access/"):
        case.body = written(case.body)
    headers: dict[str, str] = {}
    is_backdating = False
    if not _is_against(case, ParameterLocation.HEADER) and case.method.upper() == "POST":
        is_backdating = _choose_headers(case, caller, random, 0 if is_well_meant else 0.5)
        headers = {} if random.random() < 0.02 else {"Idempotency-Key": secrets.token_hex(8)}
    if (authorization := caller.header(is_backdating)) is not None:
        headers["Authorization"] = authorization
    return Sent(case, caller, headers, is_negative, has_unknown_field)


def _is_against(case: Case, location: ParameterLocation) -> bool:
    """Whether that part of the request is meant to be wrong; it is left as it was drawn."""
    assert case.meta is not None
    component = case.meta.components.get(location)
    return component is not None and component.mode.is_negative


def _choose_headers(case: Case, caller: Caller, random: Random, share: float) -> bool:
    """So many keep the headers that few need. Whether this one tells of the past, and may."""
    for name in ("If-Match", "Acting-As", "Occurred-At", "Idempotency-Key"):
        if name in case.headers and random.random() >= share:
            del case.headers[name]
    if "If-Match" in case.headers:
        case.headers["If-Match"] = f'"{random.randrange(1, 9)}"'
    if "Acting-As" in case.headers and caller.offices:
        case.headers["Acting-As"] = random.choice(caller.offices)
    return "Occurred-At" in case.headers and random.random() < 0.7


def named(value: Any, path: str, known: Known, random: Random, share: float, name: str = "") -> Any:
    """A copy of the value that, where it or a part of it names something, often names what exists."""
    found = [each for each in known.of(name, path) if type(each) is type(value)]
    if found and random.random() < share:
        return random.choice(found)
    if isinstance(value, list):
        return [named(each, path, known, random, share) for each in value]
    if isinstance(value, dict):
        return {key: named(each, path, known, random, share, key) for key, each in value.items()}
    if isinstance(value, float) and value.is_integer():  # an integer, says JSON Schema; we ask for one without a point
        return int(value)
    return value


def written(value: Any, name: str = "") -> Any:
    """A copy of the value in which no gateway names a position that may not be written yet."""
    if isinstance(value, list):
        return [written(each) for each in value]
    if isinstance(value, dict):
        return {key: written(each, key) for key, each in value.items()}
    is_later = name in WAITED_FOR and isinstance(value, int | float) and 1 < value <= POSITION_MAX
    return 1 if is_later else value


def _objects(value: Any) -> list[dict[str, Any]]:
    """The object and all those inside of it."""
    if isinstance(value, list):
        return [found for each in value for found in _objects(each)]
    if isinstance(value, dict):
        return [value, *(found for each in value.values() for found in _objects(each))]
    return []
