"""How does a program give commands and ask questions? By one client, blocking or not, which is patient.

A command gets an Idempotency-Key, and keeps it while it is repeated: after a lost connection the first answer comes
again, and nothing is done twice.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from secrets import SystemRandom, token_hex
from typing import Any, NamedTuple, Self, TypeVar, cast

import httpx

from assent_client.calls import Call, Command, Pages, Query, Question
from assent_client.gate import Token
from assent_client.problems import Unreachable, problem_of
from assent_client.stream import Events

T = TypeVar("T")

EVENTS = "/api/v1/events"
REPEATED = frozenset({425, 429, 502, 503, 504})
"""After these it is tried again, as is what was not answered at all."""

PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 0.1, 5.0
SILENCE_SECONDS_MAX = 60.0
"""A feed on which nothing comes for so long is asked for anew."""

_chance = SystemRandom()


class _Sent(NamedTuple):
    """One request, as often as it takes."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes | None


class _Patience:
    """How often, and after how long, one call is tried again."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._failures = 0

    def pause(self, response: httpx.Response | None) -> float | None:
        """Seconds to wait before the next attempt; None where it is to be left."""
        if response is not None and response.status_code not in REPEATED:
            return None
        longest = min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_MIN * 2.0**self._failures)
        self._failures += 1
        pause = _chance.uniform(longest / 2, longest)
        if response is not None:
            with suppress(ValueError):
                pause = max(pause, float(response.headers.get("retry-after", "")))
        return pause if time.monotonic() + pause < self._deadline else None


class _Client:
    """What both have in common."""

    def __init__(
        self, url: str, token: Token, *, patience_seconds: float = 30.0, timeout_seconds: float = 30.0
    ) -> None:
        """`token`: a bearer token, or what gives the one of now. `patience_seconds`: for so long a call is tried again
        after 425, 429, 502 to 504 and lost connections; `Retry-After` counts. 0: never.
        """
        self._url = url.rstrip("/")
        self._token = token
        self._patience = patience_seconds
        self._timeout = timeout_seconds

    def _head(self) -> dict[str, str]:
        token = self._token if isinstance(self._token, str) else self._token()
        return {"authorization": f"Bearer {token}", "accept": "application/json, */*;q=0.5"}

    def _sent(self, call: Call[Any], **headers: str | None) -> _Sent:
        asked = call.as_request()
        named = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
        body = None
        if asked.body is not None:
            named["content-type"] = "application/json"
            body = json.dumps(asked.body, default=_plain).encode()
        return _Sent(asked.method, asked.path, asked.query, {**self._head(), **named}, body)

    def _command(
        self,
        command: Command[Any],
        key: str | None,
        dry_run: bool,
        version: int | None,
        acting_as: str | None,
        occurred_at: datetime | None,
    ) -> _Sent:
        sent = self._sent(
            command,
            idempotency_key=None if dry_run else key or token_hex(16),
            if_match=None if version is None else f'"{version}"',
            acting_as=acting_as,
            occurred_at=None if occurred_at is None else occurred_at.isoformat(),
        )
        return sent._replace(query={"dry_run": "true"}) if dry_run else sent


def _plain(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON")


def _read(response: httpx.Response) -> Any:
    """JSON as it is, another text or bytes as they are. Raises Problem."""
    if response.status_code >= 400:
        raise problem_of(response)
    kind = response.headers.get("content-type", "")
    if "json" in kind and "jsonl" not in kind:
        return json.loads(response.content)
    return response.text if kind.startswith("text/") else response.content


def _following(pages: Pages[Any], page: dict[str, Any]) -> Pages[Any] | None:
    """What asks for the page after this one."""
    following = page.get("next")
    return None if following is None else replace(pages, cursor=following)  # type: ignore[call-arg]


class Client(_Client):
    """A client that blocks; use it from as many threads as you like."""

    def __enter__(self) -> Self:
        self._http = httpx.Client(base_url=self._url, timeout=self._timeout)
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def do(
        self,
        command: Command[T],
        *,
        key: str | None = None,
        dry_run: bool = False,
        version: int | None = None,
        acting_as: str | None = None,
        occurred_at: datetime | None = None,
    ) -> T:
        """Give a command. `key`: to repeat what an earlier process may have sent; `version`: only if it is of that one
        still; `acting_as`: organization/role. Raises Problem, Unreachable.
        """
        return cast(T, self._answer(self._command(command, key, dry_run, version, acting_as, occurred_at)))

    def ask(self, call: Query[T] | Question[T]) -> T:
        """Ask something. Raises Problem, Unreachable."""
        return cast(T, self._answer(self._sent(call)))

    def each(self, pages: Pages[Any]) -> Iterator[dict[str, Any]]:
        """Every item of every page. Raises Problem, Unreachable."""
        here: Pages[Any] | None = pages
        while here is not None:
            page = self.ask(here)
            yield from page["items"]
            here = _following(here, page)

    def events(self, after: int | None = None, **filters: str) -> Iterator[dict[str, Any]]:
        """Every event after a position as it happens, for ever; it resumes by itself. Raises Problem."""
        place, failures = after, 0
        while True:
            headers = {**self._head(), "accept": "text/event-stream"}
            if place is not None:
                headers["last-event-id"] = str(place)
            with suppress(httpx.TransportError):
                timeout = httpx.Timeout(self._timeout, read=SILENCE_SECONDS_MAX)
                with self._http.stream("GET", EVENTS, params=filters, headers=headers, timeout=timeout) as response:
                    if response.status_code != 200 and response.status_code not in REPEATED:
                        response.read()
                        raise problem_of(response)
                    events = Events()
                    for arrived in response.iter_raw() if response.status_code == 200 else ():
                        for event in events.of(arrived):
                            if event.id:
                                place, failures = int(event.id), 0
                                yield json.loads(event.data)
            time.sleep(_rest(failures))
            failures += 1

    def _answer(self, sent: _Sent) -> Any:
        patience = _Patience(self._patience)
        while True:
            response, error = None, None
            try:
                response = self._http.request(
                    sent.method, sent.path, params=sent.query, headers=sent.headers, content=sent.body
                )
            except httpx.TransportError as lost:
                error = lost
            pause = patience.pause(response)
            if pause is None:
                return _end(response, error, sent)
            time.sleep(pause)


class AsyncClient(_Client):
    """A client for asyncio."""

    async def __aenter__(self) -> Self:
        self._http = httpx.AsyncClient(base_url=self._url, timeout=self._timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def do(
        self,
        command: Command[T],
        *,
        key: str | None = None,
        dry_run: bool = False,
        version: int | None = None,
        acting_as: str | None = None,
        occurred_at: datetime | None = None,
    ) -> T:
        """As `Client.do`."""
        return cast(T, await self._answer(self._command(command, key, dry_run, version, acting_as, occurred_at)))

    async def ask(self, call: Query[T] | Question[T]) -> T:
        """As `Client.ask`."""
        return cast(T, await self._answer(self._sent(call)))

    async def each(self, pages: Pages[Any]) -> AsyncIterator[dict[str, Any]]:
        """As `Client.each`."""
        here: Pages[Any] | None = pages
        while here is not None:
            page = await self.ask(here)
            for item in page["items"]:
                yield item
            here = _following(here, page)

    async def events(self, after: int | None = None, **filters: str) -> AsyncIterator[dict[str, Any]]:
        """As `Client.events`."""
        place, failures = after, 0
        while True:
            headers = {**self._head(), "accept": "text/event-stream"}
            if place is not None:
                headers["last-event-id"] = str(place)
            with suppress(httpx.TransportError):
                timeout = httpx.Timeout(self._timeout, read=SILENCE_SECONDS_MAX)
                asked = self._http.stream("GET", EVENTS, params=filters, headers=headers, timeout=timeout)
                async with asked as response:
                    if response.status_code != 200 and response.status_code not in REPEATED:
                        await response.aread()
                        raise problem_of(response)
                    events = Events()
                    if response.status_code == 200:
                        async for arrived in response.aiter_raw():
                            for event in events.of(arrived):
                                if event.id:
                                    place, failures = int(event.id), 0
                                    yield json.loads(event.data)
            await asyncio.sleep(_rest(failures))
            failures += 1

    async def _answer(self, sent: _Sent) -> Any:
        patience = _Patience(self._patience)
        while True:
            response, error = None, None
            try:
                response = await self._http.request(
                    sent.method, sent.path, params=sent.query, headers=sent.headers, content=sent.body
                )
            except httpx.TransportError as lost:
                error = lost
            pause = patience.pause(response)
            if pause is None:
                return _end(response, error, sent)
            await asyncio.sleep(pause)


def _rest(failures: int) -> float:
    longest = min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_MIN * 2.0 ** min(failures, 10))
    return _chance.uniform(longest / 2, longest)


def _end(response: httpx.Response | None, error: httpx.TransportError | None, sent: _Sent) -> Any:
    """What the last attempt brought. Raises Problem, Unreachable."""
    if response is None:
        assert error is not None
        raise Unreachable(error, sent.headers.get("idempotency-key")) from error
    return _read(response)
