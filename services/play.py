"""Does the service answer a story, step by step, as the story expects?

A scenario is JSON lines: commands, reads, evaluations, the passing of time, notes. A step that differs stops the play.
"""

import asyncio
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx

Step = Mapping[str, Any]
Steps = list[tuple[int, Step]]
KINDS = ("post", "get", "evaluate", "tick", "note")
UNAWAITED = ("/events", "/log")
"""Paths that read the log itself, so there is no projection to wait for."""

_NAME = re.compile(r"\{([a-z0-9_]+)\}")


class StepFailed(Exception):
    """A step's answer differs from what the scenario expects; says where, and shows both."""

    def __init__(self, number: int, what: str, expected: Any, found: Any) -> None:
        super().__init__(
            f"Line {number}: {what}\n  expected: {json.dumps(expected)}\n  found:    {json.dumps(found, default=str)}"
        )


class BadScenario(Exception):
    """The file is not a scenario; says which line, and why."""


def read_scenario(text: str) -> Steps:
    """The steps with their line numbers, from 1. Raises BadScenario."""
    steps: Steps = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            step = json.loads(line)
        except ValueError as error:
            raise BadScenario(f"Line {number} is not JSON: {error}.") from None
        if not isinstance(step, dict) or sum(kind in step for kind in KINDS) != 1:
            raise BadScenario(f"Line {number} needs one of {', '.join(KINDS)}.")
        if ("post" in step or "get" in step or "evaluate" in step) and not isinstance(step.get("as"), str):
            raise BadScenario(f"Line {number} does not say as whom.")
        if "at" in step:
            _instant(step["at"], number)
        steps.append((number, step))
    return steps


def first_instant(steps: Iterable[tuple[int, Step]]) -> datetime | None:
    """When the scenario begins; None where it names no time."""
    return next((_instant(step["at"], number) for number, step in steps if "at" in step), None)


def _instant(text: Any, number: int) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        instant = None
    if instant is None or instant.tzinfo is None:
        raise BadScenario(f"Line {number}: `at` is a time with its zone, not {text!r}.")
    return instant


@dataclass
class Player:
    """Plays steps against a service. `token` gives a person's bearer token; `say` hears what is done."""

    client: httpx.AsyncClient
    token: Callable[[str], str]
    say: Callable[[str], None] = lambda words: None
    saved: dict[str, Any] = field(default_factory=dict)
    position: int = -1
    run: str = field(default_factory=lambda: secrets.token_hex(8))

    async def play(self, steps: Iterable[tuple[int, Step]]) -> int:
        """Play all steps; how many there were. Raises StepFailed or BadScenario."""
        count = 0
        for number, step in steps:
            await self._step(number, step)
            count += 1
        return count

    async def _step(self, number: int, step: Step) -> None:
        if "at" in step:
            await self._let_time_pass(number, step["at"])
        kinds: dict[str, Callable[[int, Step], Awaitable[Any]]] = {
            "post": self._post,
            "get": self._get,
            "evaluate": self._evaluate,
        }
        for kind, act in kinds.items():
            if kind in step:
                answer = await act(number, step)
                self._match(number, step, answer)
        if "note" in step:
            self.say(str(step["note"]))

    async def _let_time_pass(self, number: int, instant: str) -> None:
        response = await self.client.post("/api/v1/development/clock", json={"to": instant})
        if response.status_code != 200:
            raise StepFailed(number, f"the clock goes on to {instant}", 200, _shown(response))

    async def _post(self, number: int, step: Step) -> Any:
        path = self._named(step["post"], number)
        response = await self._sent(
            "POST",
            f"/api/v1{path}",
            content=json.dumps(self._filled(step.get("body", {}), number)),
            headers={
                **self._headers(step),
                "content-type": "application/json",
                "idempotency-key": f"{self.run}-{number}",
            },
        )
        answer = self._expected(number, step, f"POST {path}", response, 201)
        if response.status_code == 201:
            self.position = max(self.position, answer["position"])
        return answer

    async def _get(self, number: int, step: Step) -> Any:
        path = self._named(step["get"], number)
        url = httpx.URL(f"/api/v1{path}")
        if not path.startswith(UNAWAITED) and self.position >= 0:
            url = url.copy_merge_params({"after": str(self.position)})
        response = await self._sent("GET", url, headers=self._headers(step))
        return self._expected(number, step, f"GET {path}", response, 200)

    async def _evaluate(self, number: int, step: Step) -> Any:
        body = self._filled(step["evaluate"], number)
        if self.position >= 0:
            body = {**body, "context": {"min_position": self.position, **body.get("context", {})}}
        response = await self._sent("POST", "/access/v1/evaluation", json=body, headers=self._headers(step))
        return self._expected(number, step, "evaluation", response, 200)

    async def _sent(self, method: str, url: httpx.URL | str, **given: Any) -> httpx.Response:
        """The answer; whoever asks more often than the service lets one waits, as it says, and asks again."""
        while (response := await self.client.request(method, url, **given)).status_code == 429:  # noqa: ASYNC110
            await asyncio.sleep(int(response.headers.get("retry-after", "1")))
        return response

    def _headers(self, step: Step) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token(step['as'])}"}

    def _expected(self, number: int, step: Step, what: str, response: httpx.Response, usual: int) -> Any:
        what = f"{what} as {step['as']}"
        expected = step.get("expect", usual)
        if response.status_code != expected:
            raise StepFailed(number, what, expected, _shown(response))
        self.say(f"{number:4}  {response.status_code}  {what}")
        return response.json()

    def _match(self, number: int, step: Step, answer: Any) -> None:
        for path, expected, found in differences(self._filled(step.get("match", {}), number), answer):
            raise StepFailed(number, f"{path or 'the answer'} differs", expected, found)
        for name, path in step.get("save", {}).items():
            self.saved[name] = _dotted(answer, path, number)

    def _named(self, text: str, number: int) -> str:
        def value(match: re.Match[str]) -> str:
            if match[1] not in self.saved:
                raise BadScenario(f"Line {number} uses {match[0]}, which no line before has saved.")
            return str(self.saved[match[1]])

        return _NAME.sub(value, text)

    def _filled(self, value: Any, number: int) -> Any:
        """The value with every `{name}` replaced; a text that is nothing but a name takes the saved value itself."""
        match value:
            case str():
                whole = _NAME.fullmatch(value)
                return self.saved[whole[1]] if whole and whole[1] in self.saved else self._named(value, number)
            case dict():
                return {key: self._filled(part, number) for key, part in value.items()}
            case list():
                return [self._filled(part, number) for part in value]
            case _:
                return value


def differences(expected: Any, found: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where `found` is not what is expected: objects by subset, arrays by length and element."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key, part in expected.items():
            where = f"{path}.{key}" if path else key
            if key not in found:
                yield where, part, None
            else:
                yield from differences(part, found[key], where)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for nth, (part, other) in enumerate(zip(expected, found, strict=True)):
            yield from differences(part, other, f"{path}.{nth}" if path else str(nth))
    elif type(expected) is not type(found) or expected != found:
        yield path, expected, found


def _dotted(answer: Any, path: str, number: int) -> Any:
    value = answer
    for part in path.split("."):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, TypeError, ValueError):
            raise StepFailed(number, f"the answer has {path}", path, answer) from None
    return value


def _shown(response: httpx.Response) -> Any:
    try:
        return {"status": response.status_code, **response.json()}
    except (ValueError, TypeError):
        return {"status": response.status_code, "body": response.text[:500]}
