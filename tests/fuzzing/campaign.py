"""What is asked, what is answered, and what of that is a fault? Round after round over all operations."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks as promised

from services.http.problems import UnfitBody
from tests.fuzzing.cases import Case, Operations, Sent, dressed
from tests.fuzzing.target import Target

A_ROUND = 10
"""Requests of each operation in a round; afterwards the others' turn comes, upon what these have changed."""

PROBED = 0.1
"""Of the requests at addresses that ask who calls, so many are sent once more without a token, and with a wrong one."""

WELL_MEANT = 0.5
"""So many requests are of somebody who may; where they fit the description, they are about what exists as well."""

SECONDS_MAX = 30.0

GARBAGE = ("Bearer abc.def.ghi", "Bearer ", "Basic cm9vdDpyb290", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0.")
TOLERANT = "/access/v1/"
"""AuthZEN has evaluations carry properties that not everybody knows."""

UNREADABLE = ("json", "headers", "parameters")
"""Rules that refuse what cannot be read; a request that fits the description can be."""


@dataclass(slots=True)
class Fault:
    """Something that is not as described: at which operation, which check says so, and how to see it again."""

    operation: str
    check: str
    status: int
    sentence: str
    again: str
    times: int = 1


@dataclass(slots=True)
class Tally:
    requests: int = 0
    probes: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    callers: Counter[str] = field(default_factory=Counter)
    by_operation: dict[str, Counter[int]] = field(default_factory=dict)
    faults: dict[tuple[str, str, int], Fault] = field(default_factory=dict)
    against: int = 0
    seconds: float = 0.0

    def count(self, operation: str, caller: str, status: int) -> None:
        self.requests += 1
        self.statuses[status] += 1
        self.callers[caller] += 1
        self.by_operation.setdefault(operation, Counter())[status] += 1

    def never_done(self) -> list[str]:
        """Operations that never answered 2xx."""
        return [
            operation
            for operation, statuses in sorted(self.by_operation.items())
            if not any(200 <= status < 300 for status in statuses)
        ]

    def found(self, fault: Fault) -> None:
        known = self.faults.setdefault((fault.operation, fault.check, fault.status), fault)
        if known is not fault:
            known.times += 1


class Campaign:
    """An attack on a service; the same seed draws the same requests (ids that the service makes differ)."""

    def __init__(self, target: Target, seed: int) -> None:
        self._target = target
        self._seed = seed
        self._random = Random(seed)
        self._operations = Operations(target.document)
        self._session = requests.Session()
        self._session.mount("http://", HTTPAdapter(pool_maxsize=1))
        self.tally = Tally()

    def run(self, requests_: int, tell: Callable[[int], None]) -> Tally:
        """At least so many requests."""
        began, nth = time.monotonic(), 0
        for label in self._operations.labels:
            self.tally.by_operation[label] = Counter()
        while self.tally.requests < requests_:
            labels = list(self._operations.labels)
            self._random.shuffle(labels)
            for label in labels:
                nth += 1
                self._operations.draw(label, A_ROUND, self._seed * 1_000_003 + nth, self._take)
                tell(self.tally.requests)
        self.tally.seconds = time.monotonic() - began
        return self.tally

    def _take(self, case: Case) -> None:
        label = case.operation.label
        apt = self._target.who_may(case.method.upper(), case.path) if self._random.random() < WELL_MEANT else []
        caller = self._random.choice(apt or self._target.callers)
        example = self._operations.examples.get(label)
        sent = dressed(case, caller, self._target.known, example, self._random, is_apt=bool(apt))
        if label in self._operations.feeds and self._random.random() < 0.2:
            sent.headers["Accept"] = "text/event-stream"
        if label in self._operations.secured and not sent.is_negative and self._random.random() < PROBED:
            self._probe(sent)
        response = self._send(sent, sent.headers)
        if response is None:
            return
        self.tally.count(label, caller.name, response.status_code)
        self.tally.against += sent.is_negative
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            return
        self._judge(sent, response)
        self._learn(response)

    def _send(self, sent: Sent, headers: dict[str, str]) -> Any:
        """The answer; None where there was none, which is a fault."""
        prepared = sent.case.as_transport_kwargs(base_url=self._target.address, headers=headers)
        prepared["headers"].pop("X-Schemathesis-TestCaseId", None)
        try:
            response = self._session.request(**prepared, allow_redirects=False, stream=True, timeout=SECONDS_MAX)
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                next(response.iter_content(1024))  # its first words; a feed goes on for ever
                response.close()
            else:
                assert response.content is not None
            return response
        except requests.RequestException as error:
            self._fault(sent, "answers", 0, f"{type(error).__name__}: {error}", headers)
            return None
        finally:
            self._session.cookies.clear()

    def _probe(self, sent: Sent) -> None:
        """Who cannot say who they are is answered 401, whatever they ask."""
        without = {name: value for name, value in sent.headers.items() if name != "Authorization"}
        for headers in (without, {**without, "Authorization": self._random.choice(GARBAGE)}):
            response = self._send(sent, headers)
            if response is None:
                continue
            self.tally.probes += 1
            self.tally.count(sent.case.operation.label, "without a token", response.status_code)
            if response.status_code != 401:
                self._fault(sent, "authentication", response.status_code, "It was answered without one.", headers)

    # Verdicts

    def _judge(self, sent: Sent, response: Any) -> None:
        try:
            sent.case.validate_response(response, checks=PROMISES, transport_kwargs={"base_url": self._target.address})
        except FailureGroup as group:
            for failure in group.exceptions:
                sentence = f"{getattr(failure, 'title', '')}: {getattr(failure, 'message', failure)}".strip()
                self._fault(sent, type(failure).__name__, response.status_code, sentence, sent.headers)
        status = response.status_code
        if sent.has_unknown_field and status < 400 and not sent.case.path.startswith(TOLERANT):
            self._fault(sent, "unknown_fields", status, "A field that is not described was taken.", sent.headers)
        if status in (400, 422) and not (sent.is_negative or sent.has_unknown_field):
            problem = response.json()
            if not _could_be_read(problem) and not _is_excused(sent, problem):
                self._fault(sent, f"positive:{problem['rule']}", status, problem["detail"], sent.headers)

    def _fault(self, sent: Sent, check: str, status: int, sentence: str, headers: dict[str, str]) -> None:
        shown = {name: value for name, value in headers.items() if name != "Authorization"}
        again = sent.case.as_curl_command(headers=shown, base_url=self._target.address)
        if "Authorization" in headers:
            again += f"  # with the token of: {sent.caller.name}"
        self.tally.found(Fault(sent.case.operation.label, check, status, sentence, again))

    def _learn(self, response: Any) -> None:
        if response.status_code == 201:
            self._target.known.learn(response.json())
        elif response.status_code == 200 and b'"next":"' in response.content:
            self._target.known.learn_cursor(response.json()["next"])


PROMISES = [
    not_a_server_error,
    promised.status_code_conformance,
    promised.content_type_conformance,
    promised.response_headers_conformance,
    promised.response_schema_conformance,
    promised.negative_data_rejection,
]


def _could_be_read(problem: Any) -> bool:
    """Whether the refusal is one of rules, and not of form."""
    return problem["rule"] not in UNREADABLE and problem["title"] != UnfitBody.title


def _is_excused(sent: Sent, problem: Any) -> bool:
    """Whether it was refused for something that the description cannot say."""
    if "cursor" in (sent.case.query or {}):
        return True  # one that was never given
    return any(words in " ".join([problem["detail"], *problem["missing"]]) for words in UNSAYABLE)


UNSAYABLE = (
    "Idempotency-Key",  # needed, unless it is a dry run
    "a text without NUL",
    "a position in the log",
    "to one not smaller",  # two sizes, the smaller first
    "which is before it",  # so are two points
    "is a day from",  # as far as the calendar reaches
    "A file holds the whole list",  # no limit, where it is downloaded
    "cosigned_by: String should match",  # engines of patterns differ in what a space is
    "at_least is a number from",  # how many of the parts of a tree
    "No such identity provider",
)
