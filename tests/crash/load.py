"""What do 64 callers do at once to one contested request and to one capped release, and what are they told?

A caller gives up on no command: when a connection breaks or the service answers 503, it sends the same command under
the same Idempotency-Key again, at the next door, until it is answered.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.crash.checker import Told

PREFIX = "/api/v1"
AT_THE_ROOT = ("/access/v1/evaluation", "/healthz", "/readyz")
AGENCIES = ("oncd", "ostp", "commerce")
OFFICERS = 4
"""In each agency. Two callers share each officer, as if from two windows."""

SIGNERS, RACERS, QUESTIONERS = 24, 24, 16
CAP = 5
QUESTIONS_MAX = 24
"""A request's page carries its questions, and is written anew with each event."""

WANDERING = 0.1
"""How often a caller goes to another door although this one answers: all doors must know the same history."""
IMPATIENT = 0.03
"""How often a command is sent twice at the same time, under its one key."""

ATTEMPT_SECONDS = 20.0
GIVE_UP_SECONDS = 60.0
PAUSE_SECONDS = 0.05

UNANSWERED = 0
"""The status of a command that was given up without any answer."""


Answer = tuple[int, dict[str, str], bytes]
"""Status, headers (their names in lower case), content."""


class Broken(ConnectionError):
    """The connection ended before the answer did."""


@dataclass
class Caller:
    """One connection, kept alive, to one of the doors (ports); `told` collects what all callers were told."""

    doors: Sequence[int]
    tokens: Callable[[str], str]
    told: list[Told]
    rng: random.Random
    patience_seconds: float = GIVE_UP_SECONDS
    _door: int = 0
    _stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, person: str, path: str, body: dict[str, Any], key: str = "") -> Told:
        """Send a command until it is answered. `key` repeats an earlier one, which is not collected again."""
        own = key or f"{self.rng.getrandbits(96):024x}"
        request = self._request("POST", person, path, json.dumps(body).encode(), own)
        sent, chance = time.monotonic(), self.rng.random()
        if chance < WANDERING and len(self.doors) > 1:
            await self.to_next_door()
        ask = self._twice_at_once if chance > 1 - IMPATIENT else self._until_answered
        try:
            status, answer, attempts = await ask(request)
        except asyncio.CancelledError:
            self.told.append(Told(person, own, path, body, sent, time.monotonic(), UNANSWERED, {}))
            raise
        told = Told(person, own, path, body, sent, time.monotonic(), status, answer, attempts)
        if not key:
            self.told.append(told)
        return told

    async def get(self, person: str, path: str) -> tuple[int, dict[str, Any]]:
        status, answer, _ = await self._until_answered(self._request("GET", person, path))
        return status, answer

    async def close(self) -> None:
        if self._stream is not None:
            (_, writer), self._stream = self._stream, None
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def _request(self, method: str, person: str, path: str, content: bytes = b"", key: str = "") -> bytes:
        address = path if path in AT_THE_ROOT else PREFIX + path
        lines = [f"{method} {address} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {self.tokens(person)}"]
        if method == "POST":
            lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
        if key:
            lines.append(f"Idempotency-Key: {key}")
        return "\r\n".join([*lines, "\r\n"]).encode() + content

    async def once(
        self, method: str, person: str, path: str, body: dict[str, Any] | None = None, key: str = ""
    ) -> Answer:
        """One attempt, whatever it comes to. Raises OSError where the connection breaks."""
        content = b"" if body is None else json.dumps(body).encode()
        try:
            return await self._exchange(self._request(method, person, path, content, key))
        except OSError:
            await self.close()
            raise

    async def _twice_at_once(self, request: bytes) -> tuple[int, dict[str, Any], int]:
        """At two doors, or two connections to the only one. A refusal is decided again, an answer is given again."""
        twin = Caller([*self.doors[self._door + 1 :], *self.doors[: self._door + 1]], self.tokens, [], self.rng)
        twin.patience_seconds = self.patience_seconds
        both = await asyncio.gather(self._until_answered(request), twin._until_answered(request))
        await twin.close()
        accepted = [(status, answer) for status, answer, _ in both if status == 201]
        assert len(accepted) < 2 or accepted[0] == accepted[1], f"One key, two answers: {accepted}"
        return min(both, key=lambda told: told[0] != 201)

    async def _until_answered(self, request: bytes) -> tuple[int, dict[str, Any], int]:
        """Status, answer and attempts. Status 503 (or UNANSWERED: no connection) means that it was given up."""
        deadline, attempts = time.monotonic() + self.patience_seconds, 0
        status, answer = UNANSWERED, dict[str, Any]()
        while time.monotonic() < deadline:
            attempts += 1
            try:
                async with asyncio.timeout(ATTEMPT_SECONDS):
                    status, headers, content = await self._exchange(request)
            except (OSError, TimeoutError):
                await self._try_elsewhere()
                continue
            answer = json.loads(content)
            if status != 503:
                break
            must_be_unavailable((status, headers, content))
            await self._try_elsewhere()
        return status, answer, attempts

    async def _try_elsewhere(self) -> None:
        await self.to_next_door()
        await asyncio.sleep(PAUSE_SECONDS * self.rng.uniform(0.5, 1.5))

    async def to_next_door(self) -> None:
        await self.close()
        self._door = (self._door + 1) % len(self.doors)

    async def _exchange(self, request: bytes) -> Answer:
        if self._stream is None:
            self._stream = await asyncio.open_connection("127.0.0.1", self.doors[self._door])
        reader, writer = self._stream
        writer.write(request)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
            content = await reader.readexactly(int(headers["content-length"]))
        except asyncio.IncompleteReadError as error:
            raise Broken(str(error)) from error
        if headers.get("connection") == "close":
            await self.close()
        return int(head[0].split(" ")[1]), headers, content


def must_be_unavailable(answer: Answer) -> None:
    """503 as promised: a problem, and when to come again."""
    status, headers, content = answer
    assert status == 503, f"{status}: {content!r}"
    assert headers["content-type"] == "application/problem+json", f"503 without its problem: {headers}"
    assert int(headers["retry-after"]) >= 1, "503 says when to come again"
    assert json.loads(content)["status"] == 503


# What is there before the callers come


def officer(agency: str, nth: int) -> str:
    return f"{agency}-officer-{nth}"


async def prepare(caller: Caller) -> None:
    """Organizations, people and two policies: what officers contest without end, and what one signature settles."""
    named = {"country": "US"}
    posts: list[tuple[str, dict[str, Any]]] = [
        ("/organizations", {"id": "meridian", "kind": "provider", "name": "Meridian AI", **named}),
        ("/organizations/meridian/appointments", {"person": "rae", "role": "release_manager"}),
    ]
    for agency in AGENCIES:
        posts.append(("/organizations", {"id": agency, "kind": "agency", "name": agency, "government": True, **named}))
        posts += [
            (f"/organizations/{agency}/appointments", {"person": officer(agency, nth), "role": "reviewer"})
            for nth in range(OFFICERS)
        ]
    for nth in range(RACERS):
        customer = {"id": f"customer-{nth}", "kind": "customer", "name": f"Customer {nth}", "size_class": "small"}
        posts.append(("/organizations", {**customer, **named}))
        appointment = {"person": f"applicant-{nth}", "role": "applicant"}
        posts.append((f"/organizations/customer-{nth}/appointments", appointment))
    every = {"all_of": [{"agency": agency} for agency in AGENCIES]}
    for policy, tree, decider in (("contested", every, True), ("quick", {"agency": "oncd"}, False)):
        posts.append(
            (f"/policies/{policy}/versions", {"authority_basis": "A test", "sign_offs": tree, "decider": decider})
        )
    for path, body in posts:
        await _must(caller.post("root", path, body))


@dataclass
class Stage:
    """What one round is about: a request that every officer has a say on, and a release with too few places."""

    request: str
    release: str
    ends: float
    questions: dict[int, str] = field(default_factory=dict)
    """Which agency asked which."""
    surprises: list[str] = field(default_factory=list)

    @property
    def open(self) -> bool:
        return time.monotonic() < self.ends


async def set_stage(caller: Caller, nth: int, seconds: float) -> Stage:
    """The request and the release of the round; it ends so many seconds from now."""
    release = {"provider": "meridian", "model": "Atlas", "tiers": ["standard"], "incident_threshold": "high"}
    contested = {**release, "id": f"contested-{nth}", "policy": "contested"}
    await _must(caller.post("rae", "/releases", {**contested, "phases": [{"name": "preview", "access": "granted"}]}))
    phase = {"name": "preview", "access": "granted", "customer_cap": CAP}
    await _must(
        caller.post("rae", "/releases", {**release, "id": f"capped-{nth}", "policy": "quick", "phases": [phase]})
    )
    request = await _handed_in(caller, 0, f"contested-{nth}")
    return Stage(request, f"capped-{nth}", time.monotonic() + seconds)


async def _handed_in(caller: Caller, nth: int, release: str) -> str:
    """A request of that customer whose review has begun."""
    body = {"customer": f"customer-{nth}", "release": release, "use": "Fraud analysis"}
    request: str = (await _must(caller.post(f"applicant-{nth}", "/requests", body))).answer["id"]
    await _must(caller.post("root", f"/requests/{request}/registration", {}))
    return request


async def _must(posting: Coroutine[Any, Any, Told]) -> Told:
    """Where nobody competes, a refusal would mean that an answer was lost."""
    told = await posting
    assert told.status == 201, f"{told} was answered {told.status}: {told.answer}"
    return told


# What callers do


async def contest(caller: Caller, stage: Stage, nth: int) -> None:
    """An officer takes one position, then the other; the same person may be doing so in another window."""
    agency = AGENCIES[nth % len(AGENCIES)]
    person = officer(agency, nth // len(AGENCIES) % OFFICERS)
    while stage.open:
        body = {"agency": agency, "position": caller.rng.choice(("approve", "refuse"))}
        await caller.post(person, f"/requests/{stage.request}/sign-offs", body)
        await asyncio.sleep(caller.rng.uniform(0, 0.02))


async def race(caller: Caller, stage: Stage, nth: int) -> None:
    """A customer asks, is approved when there is a place, leaves again; else its request is taken back."""
    applicant, signer = f"applicant-{nth}", officer("oncd", nth % OFFICERS)
    while stage.open:
        request = await _handed_in(caller, nth, stage.release)
        for _ in range(5):
            told = await caller.post(
                signer, f"/requests/{request}/sign-offs", {"agency": "oncd", "position": "approve"}
            )
            if told.status == 201:
                grant = await _grant_of(caller, request, told.answer["position"])
                await asyncio.sleep(caller.rng.uniform(0, 0.1))
                await _must(caller.post(applicant, f"/grants/{grant}/surrender", {"reason": "No longer needed"}))
                break
            await asyncio.sleep(caller.rng.uniform(0, 0.05))
        else:
            await _must(caller.post(applicant, f"/requests/{request}/withdrawal", {}))


async def _grant_of(caller: Caller, request: str, position: int) -> str:
    status, document = await caller.get("root", f"/requests/{request}?after={position}")
    assert status == 200, f"Request {request} is there, and the answer is {status}: {document}"
    grant: str = document["grant"]
    return grant


async def question(caller: Caller, stage: Stage, nth: int) -> None:
    """Officers ask and accept, the applicant answers; several at once take up the same question."""
    here = f"/requests/{stage.request}/information-requests"
    agency = AGENCIES[nth % len(AGENCIES)]
    while stage.open:
        act = caller.rng.choice(("ask", "answer", "accept"))
        if not stage.questions or (act == "ask" and len(stage.questions) < QUESTIONS_MAX):
            told = await caller.post(officer(agency, 0), here, {"agency": agency, "question": "Who holds the keys?"})
            if told.status == 201:
                stage.questions[told.answer["number"]] = agency
        else:
            number, asker = caller.rng.choice(list(stage.questions.items()))
            if act == "accept":
                await caller.post(officer(asker, 0), f"{here}/{number}/acceptance", {})
            else:
                await caller.post("applicant-0", f"{here}/{number}/response", {"answer": "Two founders."})
        await asyncio.sleep(caller.rng.uniform(0, 0.2))


async def run(stage: Stage, callers: Sequence[Caller]) -> None:
    """All callers at once, until the stage ends and each has its last answer, or one that nobody may be given."""
    assert len(callers) == SIGNERS + RACERS + QUESTIONERS
    signers, rest = callers[:SIGNERS], callers[SIGNERS:]
    racers, questioners = rest[:RACERS], rest[RACERS:]

    async def playing(act: Callable[[Caller, Stage, int], Coroutine[Any, Any, None]], caller: Caller, nth: int) -> None:
        try:
            await act(caller, stage, nth)
        except AssertionError as surprise:
            stage.surprises.append(str(surprise))

    async with asyncio.TaskGroup() as group:
        for act, cast in ((contest, signers), (race, racers), (question, questioners)):
            for nth, caller in enumerate(cast):
                group.create_task(playing(act, caller, nth))


async def again(caller: Caller, told: Sequence[Told]) -> list[Told]:
    """Repeat commands under their keys, as a caller would who lost the answer."""
    return [await caller.post(each.person, each.path, each.body, each.key) for each in told]
