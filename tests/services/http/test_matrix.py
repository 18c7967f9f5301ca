"""Who gets which answer at which address? Every address × every office, here and elsewhere, over real HTTP.

What is expected stands here and in the table of `tests/domain/test_authority.py`, apart from the code. What was seen is
written down in docs/authority-matrix.md: `./run docs` writes it anew.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from domain import directive, grant, key, organization, release, request
from domain.authority import READS, Reading
from domain.request import RegisterRequest, SignOff
from services.api_keys import digest_of, token_of
from services.http.access_feed import FEED
from services.http.access_requests import REQUESTS
from services.http.bodies import minted_field, wire_name
from services.http.commands import COMMANDS, PREFIX
from services.http.description import ASKED as ASKED_OF_GATEWAYS
from services.http.enforcement import ENFORCEMENT
from services.http.examples import ASKED as QUESTIONS
from services.settings import Settings
from tests.conftest import fresh_database
from tests.domain import test_authority as authority
from tests.domain.test_authority import ADMINISTRATOR, ALL_OFFICERS, MANAGER, PEOPLE, READERS
from tests.projections.shelf import append
from tests.services.http.conftest import Service, served
from tests.spec import Story, application

PAGE = Path(__file__).parents[3] / "docs" / "authority-matrix.md"
WRITE = "WRITE_PAGES"

SECRET = "s" * 43
MACHINES = {
    "key of openai, access": ("k-gateway", "openai", ("access",)),
    "key of oncd, read": ("k-oncd", "oncd", ("read",)),
    "key of northwind, read": ("k-northwind", "northwind", ("read",)),
    "key of assent, read": ("k-assent", "assent", ("read",)),
}
STRANGERS = ("nobody", "whose office ended")
"""Signed in, and without any office."""

RECUSED = "recused officer of oncd"
"""A reviewer of oncd who may not touch the request `nw`."""

DELEGATE = "delegate of oncd.head"
"""Holds no office, but may sign off for oncd's head."""

NAMES = {"whose office ended": "ended", RECUSED: "recused", DELEGATE: "delegate"}
SIGNED_IN = (*PEOPLE, *STRANGERS, RECUSED, DELEGATE)
CALLERS = ("without a token", *SIGNED_IN, *MACHINES)

AUDITORS = ("assent.auditor", "key of assent, read")
ALIKE = {
    RECUSED: "oncd.reviewer",
    DELEGATE: "oncd.head",
    "key of oncd, read": "oncd.reviewer",
    "key of northwind, read": "northwind.applicant",
    "key of assent, read": "assent.auditor",
}
"""Who reads like whom, where nothing else is said."""


def everything() -> Story:
    """What the table of commands is about, and something of every kind that can be read."""
    story = authority.everybody()
    story.given(organization.Appoint("oncd", "ended", "reviewer"), organization.Appoint("oncd", "recused", "reviewer"))
    story.given(organization.EndAppointment("oncd", "ended", "reviewer"))
    story.given(organization.Delegate("oncd", "delegate", ("SignOff",)), by="oncd.head")
    story.given(request.Recuse("nw", "recused", "A cousin works there"), by="oncd.head")
    story.given(grant.ProposeConditionChange("g", 1, drop=True), by="nina")
    story.given(release.OpenIncident("gpt-5.6", "low", "Odd"), by="rae")
    story.given(application(), by="nina", ids=["no"]).given(RegisterRequest("no"), by="rita")
    story.given(SignOff("no", "oncd", "refuse", reason="Too risky"), by="olga")
    story.given(request.FileAppeal("no", "Unfair"), by="nina")
    story.given(application(), by="nina", ids=["again"]).given(RegisterRequest("again"), by="rita")
    story.given(SignOff("again", "oncd", "approve"), by="olga")
    story.given(SignOff("again", "ostp", "approve"), by="sam", ids=["g2"])
    story.given(grant.RevokeGrant("g2", "Misuse", "Breach"), by="omar").given(grant.FileAppeal("g2", "No"), by="nina")
    for id, of, scopes in MACHINES.values():
        story.given(key.IssueKey(of, "Machine", scopes, digest=digest_of(SECRET)), ids=[id])  # type: ignore[arg-type]
    return story


@pytest.fixture(scope="module")
def service(postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service on that log."""
    story = everything()
    for conninfo in fresh_database(postgres, template):
        append(conninfo, story.facts)
        folder = tmp_path_factory.mktemp("matrix")
        settings = Settings(data=folder, database_url=conninfo, port=0, clock="manual", clock_start=story.now)
        with served(settings) as running:
            running.read("assent.auditor", "/requests", len(story.facts) - 1)
            running.read("assent.auditor", "/dashboards/pending_sign_offs", len(story.facts) - 1)
            for path in (
                "grants",
                "releases",
                "dashboards/conditions",
                "dashboards/turnaround",
                "keys",
                "legal-holds",
                "subjects",
            ):
                running.read("assent.auditor", f"/{path}", len(story.facts) - 1)
            yield running


Answers = Callable[[Any], dict[str, str]]
"""What every caller is answered to a command, or at an address that is read; each is asked once."""


@pytest.fixture(scope="module")
def answers(service: Service) -> Answers:
    @cache
    def asked(what: Any) -> dict[str, str]:
        if isinstance(what, str):
            return {caller: read(service, caller, what) for caller in CALLERS}
        return {caller: outcome(posted(service, caller, what)) for caller in CALLERS}

    return asked


def headers(service: Service, caller: str) -> dict[str, str]:
    if caller in MACHINES:
        return {"authorization": f"Bearer {token_of(MACHINES[caller][0], SECRET)}"}
    return {} if caller == "without a token" else service.headers(NAMES.get(caller, caller))


# Commands: by dry runs, so that every one is asked on the same log

INSTEAD: Mapping[type, Any] = {
    request.DecideAppeal: request.DecideAppeal("no", 1, "uphold", "Right"),
    grant.DecideAppeal: grant.DecideAppeal("g2", 1, "uphold", "Right"),
}
"""Where the table's own command is about something that does not exist: one that is about something."""

ASKED = [
    (INSTEAD.get(type(command), command), allowed)
    for command, allowed in authority.MAY
    if type(command) is not directive.ConfirmLifting
]
ADDRESSES = {command: path for path, command in COMMANDS.items()}


def posted(service: Service, caller: str, command: Any) -> httpx.Response:
    schema = type(command)
    path = ADDRESSES[schema]
    given = re.findall(r"{(\w+)}", path)
    address = path.format(**{name: getattr(command, name) for name in given})
    sent = [f.name for f in fields(schema) if f.name not in given and f.name != minted_field(schema)]
    body = msgspec.json.encode({wire_name(name): getattr(command, name) for name in sent})
    json = {**headers(service, caller), "content-type": "application/json"}
    return service.client.post(f"{PREFIX}{address}?dry_run=true", content=body, headers=json)


def expected_of_command(command: Any, allowed: str, caller: str) -> str:
    if caller == "without a token":
        return "401"
    if caller in MACHINES:
        return "403"
    readers: tuple[str, ...] = (*PEOPLE, *STRANGERS)
    if hasattr(command, "request") or isinstance(getattr(command, "grant", None), str):
        readers = tuple(READERS.split())
    elif isinstance(command, key.RotateKey | key.RevokeKey):
        readers = (ADMINISTRATOR, "assent.auditor")
    elif hasattr(command, "hold"):
        readers = (authority.RECORDS_OFFICER, "assent.auditor")
    if caller == RECUSED and getattr(command, "request", "") == "nw":
        return "404"
    if caller == DELEGATE and isinstance(command, SignOff):
        return "may"
    like = ALIKE.get(caller, caller)
    if like in allowed.split() and caller != DELEGATE:
        return "may"
    return "403" if like in readers else "404"


def outcome(response: httpx.Response) -> str:
    return str(response.status_code) if response.status_code in (401, 403, 404) else "may"


@pytest.mark.parametrize(
    ("command", "allowed"), ASKED, ids=[f"{type(asked).__name__}-{nth}" for nth, (asked, _) in enumerate(ASKED)]
)
def test_what_a_command_is_answered(answers: Answers, command: Any, allowed: str) -> None:
    assert answers(command) == {caller: expected_of_command(command, allowed, caller) for caller in CALLERS}


def test_every_address_of_a_command_was_asked() -> None:
    assert {type(command) for command, _ in ASKED} == set(COMMANDS.values())


# Reads

CONCERNED = (*READERS.split(), RECUSED, DELEGATE, "key of oncd, read", "key of northwind, read", "key of assent, read")
REQUEST_NW = tuple(caller for caller in CONCERNED if caller != RECUSED)
WITH_SCOPE = (*SIGNED_IN, *(machine for machine in MACHINES if "read" in machine))
KEEPERS_OF_KEYS = (ADMINISTRATOR, *AUDITORS)
KEEPERS_OF_RECORDS = (authority.RECORDS_OFFICER, *AUDITORS)
OFFICERS = (*ALL_OFFICERS.split(), *["bis.reviewer", "bis.countersigner", "bis.head"])
EVALUATES = (MANAGER, "openai.gateway", "assent.auditor", "key of openai, access")

READ: dict[str, tuple[str, tuple[str, ...], str]] = {
    "/api/v1/requests": ("", CONCERNED, "empty"),
    "/api/v1/requests/{id}": ("nw", REQUEST_NW, "404"),
    "/api/v1/requests/{id}/history": ("nw", REQUEST_NW, "404"),
    "/api/v1/requests/{id}/required-sign-offs": ("nw", REQUEST_NW, "404"),
    "/api/v1/requests/{id}/dossier": ("nw", REQUEST_NW, "404"),
    "/api/v1/grants": ("", CONCERNED, "empty"),
    "/api/v1/grants/{id}": ("g", CONCERNED, "404"),
    "/api/v1/grants/{id}/history": ("g", CONCERNED, "404"),
    "/api/v1/grants/{id}/enforcement": ("g", tuple(c for c in CONCERNED if "northwind" not in c), "404"),
    "/api/v1/releases": ("", WITH_SCOPE, ""),
    "/api/v1/releases/{id}": ("gpt-5.6", WITH_SCOPE, ""),
    "/api/v1/releases/{id}/history": ("gpt-5.6", WITH_SCOPE, ""),
    "/api/v1/organizations": ("", WITH_SCOPE, ""),
    "/api/v1/organizations/{id}": ("oncd", WITH_SCOPE, ""),
    "/api/v1/organizations/{id}/history": ("oncd", WITH_SCOPE, ""),
    "/api/v1/policies": ("", WITH_SCOPE, ""),
    "/api/v1/policies/{id}": ("both", WITH_SCOPE, ""),
    "/api/v1/policies/{id}/history": ("both", WITH_SCOPE, ""),
    "/api/v1/directives": ("", WITH_SCOPE, ""),
    "/api/v1/directives/{id}": ("d", WITH_SCOPE, ""),
    "/api/v1/directives/{id}/history": ("d", WITH_SCOPE, ""),
    "/api/v1/keys": ("", KEEPERS_OF_KEYS, "403"),
    "/api/v1/keys/{id}": ("k", KEEPERS_OF_KEYS, "403"),
    "/api/v1/legal-holds": ("", KEEPERS_OF_RECORDS, "403"),
    "/api/v1/legal-holds/{id}": ("h", KEEPERS_OF_RECORDS, "403"),
    "/api/v1/subjects": ("", KEEPERS_OF_RECORDS, "403"),
    "/api/v1/subjects/{id}": ("nina", KEEPERS_OF_RECORDS, "403"),
    "/api/v1/dashboards/pending_sign_offs": (
        "",
        tuple(c for c in CONCERNED if "northwind" not in c),
        "empty",
    ),
    "/api/v1/dashboards/conditions": ("", CONCERNED, "empty"),
    "/api/v1/dashboards/rollout": ("", WITH_SCOPE, ""),
    "/api/v1/dashboards/turnaround": (
        "",
        (ADMINISTRATOR, *(c for c in CONCERNED if "northwind" not in c)),
        "empty",
    ),
    "/api/v1/dashboards/turnaround/requests": (
        "",
        tuple(c for c in CONCERNED if "northwind" not in c),
        "empty",
    ),
    "/api/v1/dashboards/clearance": ("", (*CONCERNED, "tinker.applicant"), "empty"),
    "/api/v1/dashboards/activity": ("?person=olga", ("oncd.head", *AUDITORS), "empty"),
    "/api/v1/dashboards/activity_counts": ("?person=olga", ("oncd.head", *AUDITORS), "empty"),
    "/api/v1/diff": ("?stream=request-nw&from=0&to=2100-01-01T00:00:00Z", REQUEST_NW, "404"),
    "/api/v1/events": ("", AUDITORS, "403"),
    "/api/v1/log/checkpoint": ("", WITH_SCOPE, ""),
    "/api/v1/log/tile/{level}/{place}": ("0/000.p/1", WITH_SCOPE, ""),
    "/api/v1/log/tile/entries/{place}": ("000.p/1", AUDITORS, "403"),
    "/api/v1/log/proof/{position}": ("0", WITH_SCOPE, ""),
    "/api/v1/log/consistency": ("?from=1&to=2", WITH_SCOPE, ""),
    "/api/v1/log/keys": ("", WITH_SCOPE, ""),
    "/api/v1/trail": ("", AUDITORS, "403"),
    "/api/v1/trail/checkpoint": ("", AUDITORS, "403"),
    "/api/v1/trail/tile/{level}/{place}": ("0/000.p/1", AUDITORS, "403"),
    "/api/v1/trail/tile/entries/{place}": ("000.p/1", AUDITORS, "403"),
    "/api/v1/trail/proof/{position}": ("0", AUDITORS, "403"),
    "/api/v1/trail/consistency": ("?from=1&to=1", AUDITORS, "403"),
    **dict.fromkeys(ASKED_OF_GATEWAYS, ("", EVALUATES, "403")),
    FEED: ("", EVALUATES, "403"),
    REQUESTS: ("", (), "404"),
    "/access/v1/requests/{id}": ("nw", (), "404"),
    "/session": ("", (*SIGNED_IN, *MACHINES), ""),
}
"""At each address: what is asked for there, who reads it, and what everybody else who is signed in gets instead."""


def expected_of_read(path: str, caller: str) -> str:
    if path == "/login/callback":
        return "400"  # whoever was not sent there by a provider
    if READS[path] is Reading.ANYONE:
        return "reads"
    if caller == "without a token":
        return "401"
    _, readers, instead = READ[path]
    if path == REQUESTS:
        return "404"  # the setting does not want it
    others = path in (*ASKED_OF_GATEWAYS, FEED) and caller in ("anthropic.gateway", "anthropic.release_manager")
    if "search" in path and (others or caller in readers):
        return "empty"  # on this log nobody may use anything
    if others:
        return "reads" if path in (FEED, ENFORCEMENT) else "unknown_release"
    if caller in readers:
        return "reads"
    if path.endswith("/enforcement") and "northwind" in caller:
        return "403"  # their own grant, but not for them
    is_for_gateways = path in (*ASKED_OF_GATEWAYS, FEED)
    if (caller == "key of openai, access") != is_for_gateways and caller in MACHINES:
        return "403"
    return instead


def read(service: Service, caller: str, path: str) -> str:
    sent = headers(service, caller)
    if path == FEED:
        with service.client.stream("GET", path, headers=sent) as stream:
            return "reads" if stream.status_code == 200 else str(stream.status_code)
    if path in ASKED_OF_GATEWAYS:
        response = service.client.post(path, json=QUESTIONS[ASKED_OF_GATEWAYS[path][0]], headers=sent)
    else:
        thing = READ[path][0] if path in READ else ""
        template = path.replace("{level}/{place}", "{place}")
        address = re.sub(r"/{[^?]*?}(?=/history|/enforcement|/required|/dossier|$)", f"/{thing}", template)
        response = service.client.get(address if "{" in path else address + thing, headers=sent)
    if response.status_code != 200:
        return str(response.status_code)
    found = response.json() if "json" in response.headers["content-type"] else {}
    decided = found.get("evaluations", [found]) if isinstance(found, dict) else []
    if any(each.get("context", {}).get("reason") == "unknown_release" for each in decided):
        return "unknown_release"
    return "empty" if isinstance(found, dict) and [] in (found.get("items"), found.get("results")) else "reads"


READABLE = [path for path in READS if path != "/api/v1/development/clock"]
"""The development clock is set, and not read; it exists on loopback in development mode alone."""


@pytest.mark.parametrize("path", READABLE)
def test_what_a_read_is_answered(answers: Answers, path: str) -> None:
    assert answers(path) == {caller: expected_of_read(path, caller) for caller in CALLERS}


def test_every_address_that_is_read_was_asked() -> None:
    asked = set(READ) | {path for path in READS if READS[path] is Reading.ANYONE}
    assert asked == set(READS)


# The page


def told(answers: Mapping[str, str]) -> str:
    """Who gets which answer, the rarest first."""
    groups: dict[str, list[str]] = {}
    for caller, answer in answers.items():
        groups.setdefault(answer, []).append(caller)
    *rare, (most, _) = sorted(groups.items(), key=lambda group: len(group[1]))
    return " · ".join([*(f"**{answer}** {', '.join(who)}" for answer, who in rare), f"**{most}** all others"])


def page(answers: Answers) -> str:
    commands = [
        f"| `POST {PREFIX}{ADDRESSES[type(command)]}` | {type(command).__name__} | {told(answers(command))} |"
        for command, _ in ASKED
    ]
    reads = [f"| `{path}` | {told(answers(path))} |" for path in READABLE]
    return "\n".join([INTRODUCTION, *commands, READS_BEGIN, *reads, ""])


INTRODUCTION = """# Who gets which answer

Written by `./run docs` from what was seen: every address, asked over HTTP by every caller below. A test compares each
answer with what is expected, and this page with what is seen.

On this log oncd and ostp are the agencies of the tree and of the gate, bis is in neither; openai is the release's
provider and northwind the request's customer, anthropic and tinker are not. Somebody was recused from the request,
somebody may sign off by delegation, and four machines have keys.

**may**: no want of authority, whatever the rules say to it then · **reads**: the answer holds something · **empty**: a
list without anything in it · **401** who are you? · **403** not your role · **404** there is no such thing, for you

## Commands

| address | command | answers |
|---|---|---|"""
READS_BEGIN = """
## Reads and checks

| address | answers |
|---|---|"""


def test_the_page_says_what_is_seen(answers: Answers) -> None:
    seen = page(answers)
    if os.environ.get(WRITE):
        PAGE.write_text(seen)
    assert PAGE.read_text() == seen, "./run docs writes it anew"


# Unknown and forbidden look the same


@pytest.mark.parametrize("path", ["requests/{}", "requests/{}/history", "requests/{}/required-sign-offs", "grants/{}"])
def test_what_one_may_not_see_looks_like_what_does_not_exist(service: Service, path: str) -> None:
    id = "g" if path.startswith("grants") else "nw"
    hidden, unknown = (service.get("tinker.applicant", f"/{path.format(name)}") for name in (id, "unknown"))
    assert (hidden.status_code, hidden.content) == (unknown.status_code, unknown.content) == (404, hidden.content)
    lines = [{k: v for k, v in r.headers.items() if k not in ("x-request-id", "date")} for r in (hidden, unknown)]
    assert lines[0] == lines[1]


def test_a_command_on_what_one_may_not_see_is_answered_as_on_what_does_not_exist(service: Service) -> None:
    for known, unknown in (
        (SignOff("nw", "oncd", "approve"), SignOff("unknown", "oncd", "approve")),
        (grant.SuspendGrant("g", "Misuse"), grant.SuspendGrant("unknown", "Misuse")),
        (key.RevokeKey("k"), key.RevokeKey("unknown")),
    ):
        hidden, absent = (posted(service, "tinker.applicant", command) for command in (known, unknown))
        assert (hidden.status_code, hidden.content) == (absent.status_code, absent.content) == (404, hidden.content)
