"""Why was it refused? Every problem+json as an exception that names the rule, and what is missing."""

import json
from typing import Any

import httpx


class Problem(Exception):
    """`status`, `rule`, `missing`, `detail` as the service says them; `request_id`: under which its logs tell of it."""

    def __init__(self, status: int, said: dict[str, Any], request_id: str = "") -> None:
        self.status = status
        self.rule = str(said.get("rule", ""))
        self.title = str(said.get("title", ""))
        self.detail = str(said.get("detail", ""))
        self.missing: tuple[str, ...] = tuple(map(str, said.get("missing") or ()))
        self.request_id = request_id
        super().__init__(f"{status} {self.rule}: {self.detail or self.title}")


class Malformed(Problem):
    """400, 413, 415, 422: it was not understood, names what does not exist, or asks for what cannot be."""


class Unauthenticated(Problem):
    """401: who are you?"""


class NotYours(Problem):
    """403: you may see it, but lack the role."""


class NotFound(Problem):
    """404: it does not exist, or is not yours to see."""


class Forbidden(Problem):
    """409: you have the role, but a rule or history forbids it."""


class Outdated(Problem):
    """412: it is of another version by now."""


class NotYet(Problem):
    """425: come back after a while."""


class TooMany(Problem):
    """429: more than one caller may ask."""


class Unavailable(Problem):
    """5xx: it is safe to repeat a command with the same key."""


class Unreachable(ConnectionError):
    """Nobody answered. `idempotency_key`: with it the command can be repeated, for it may have been taken."""

    def __init__(self, error: Exception, idempotency_key: str | None) -> None:
        super().__init__(f"No answer ({type(error).__name__}: {error})")
        self.idempotency_key = idempotency_key


BY_STATUS: dict[int, type[Problem]] = {
    400: Malformed,
    401: Unauthenticated,
    403: NotYours,
    404: NotFound,
    409: Forbidden,
    412: Outdated,
    413: Malformed,
    415: Malformed,
    422: Malformed,
    425: NotYet,
    429: TooMany,
}


def problem_of(response: httpx.Response) -> Problem:
    """The response, whose body was read, as an exception."""
    try:
        said = json.loads(response.content)
    except ValueError:
        said = {}
    said = said if isinstance(said, dict) else {}
    kind = BY_STATUS.get(response.status_code, Unavailable if response.status_code >= 500 else Problem)
    return kind(response.status_code, {"detail": response.text[:300], **said}, response.headers.get("x-request-id", ""))
