"""What does a refusal look like over HTTP? One shape for all: problem+json (RFC 9457) with rule and missing piece."""

import re
from collections.abc import Iterable

import msgspec

from domain.errors import Refused

MEDIA_TYPE = b"application/problem+json"
TYPE_PREFIX = "urn:assent:problem:"

Headers = list[tuple[bytes, bytes]]


class Problem(msgspec.Struct):
    """The members of RFC 9457, the rule that refuses, and what would be needed."""

    type: str
    title: str
    status: int
    detail: str
    rule: str
    missing: tuple[str, ...]


class MalformedBody(Refused):
    """Not JSON, or JSON that does not fit."""

    status, rule, title = 400, "json", "The body is not the JSON that is expected"


class UnfitBody(Refused):
    status, rule, title = 422, "well_formed", "The body does not fit the command"


class BadHeader(Refused):
    status, rule, title = 400, "headers", "A header is missing or malformed"


class BadParameter(Refused):
    status, rule, title = 400, "parameters", "A parameter of the address is malformed"


class Unauthenticated(Refused):
    """No token, or one that is not accepted; which of its parts is wrong stays unsaid."""

    status, rule, title = 401, "authentication", "A valid bearer token is needed"

    def __init__(self, detail: str = "The token is missing, malformed, expired or not of an accepted issuer.") -> None:
        super().__init__(detail, "Authorization: Bearer <token>")


class CrossSite(Refused):
    """A browser sent it, and perhaps nobody in front of it knows."""

    status, rule, title = 403, "csrf", "Another page may have made the browser send this"


class LoginRefused(Refused):
    status, rule, title = 400, "login", "This does not let anybody in"


class NotAForm(Refused):
    status, rule, title = 415, "form", "The body is not declared as a form"

    def __init__(self) -> None:
        super().__init__("What is sent here is a form.", "Content-Type: application/x-www-form-urlencoded")


class ScopeMissing(Refused):
    status, rule, title = 403, "scope", "The token's scopes do not cover this"


class NotYourRole(Refused):
    status, rule, title = 403, "authority", "Your appointments do not cover this"


class NoSuchPath(Refused):
    status, rule, title = 404, "paths", "There is nothing at this address"

    def __init__(self) -> None:
        super().__init__("Nothing is served at this address; /docs lists what is.")


class MethodNotAllowed(Refused):
    status, rule, title = 405, "methods", "The address does not answer this method"

    def __init__(self, allowed: Iterable[str]) -> None:
        self.allowed = ", ".join(sorted(allowed))
        super().__init__(f"This address answers {self.allowed}.", self.allowed)


class BodyTooLarge(Refused):
    status, rule, title = 413, "body_size", "The body is too large"


class Unreadable(Refused):
    status, rule, title = 400, "http", "This is no request of HTTP/1.1"

    def __init__(self) -> None:
        super().__init__("What arrived cannot be read as a request.", "a request as RFC 9112 has it")


class HeadTooLarge(Refused):
    status, rule, title = 431, "head_size", "The address or the headers are too large"


class TooSlow(Refused):
    status, rule, title = 408, "request_time", "The request did not arrive in time"


class NotJson(Refused):
    status, rule, title = 415, "json", "The body is not declared as JSON"

    def __init__(self) -> None:
        super().__init__("Bodies are JSON.", "Content-Type: application/json")


class NotCaughtUp(Refused):
    """What is asked for is in the log, but not yet in what answers."""

    status, rule, title = 503, "position", "This position is not reached yet"
    retry_after = 1


class NotThereYet(Refused):
    """What is asked for is not in the log."""

    status, rule, title = 425, "position", "The log does not go so far"
    retry_after = 1


class TookTooLong(Refused):
    status, rule, title = 503, "time_limit", "The answer took too long"
    retry_after = 5


class Unexpected(Refused):
    status, rule, title = 500, "unexpected", "Something went wrong on our side"

    def __init__(self) -> None:
        super().__init__("This is our mistake, and it was logged. The request's id says where.")


def type_of(refusal: type[Refused]) -> str:
    """The stable name of a refusal as a URI: SignOffsMissing is urn:assent:problem:sign-offs-missing.

    One that a specification names has its name there.
    """
    named: str | None = getattr(refusal, "type_uri", None)
    return named or TYPE_PREFIX + re.sub(r"(?<!^)(?=[A-Z])", "-", refusal.__name__).lower()


def body_of(refusal: Refused) -> bytes:
    kind = type(refusal)
    return msgspec.json.encode(
        Problem(type_of(kind), refusal.title, refusal.status, refusal.detail, refusal.rule, tuple(refusal.missing))
    )


def headers_of(refusal: Refused) -> Headers:
    """What a refusal adds to the headers of its answer."""
    added: Headers = [(b"content-type", MEDIA_TYPE)]
    if (seconds := getattr(refusal, "retry_after", None)) is not None:
        added.append((b"retry-after", b"%d" % seconds))
    if isinstance(refusal, Unauthenticated):
        added.append((b"www-authenticate", b'Bearer realm="assent"'))
    if isinstance(refusal, MethodNotAllowed):
        added.append((b"allow", refusal.allowed.encode()))
    return added
