"""Who is calling? Issuers say it in bearer tokens; what a person may do stands in the log alone.

An issuer is anything that verifies a token. The development issuer makes tokens as well, so it exists only where nobody
else can reach the service.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from domain import key
from domain.facts import SYSTEM
from domain.fields import Pattern, Person, marks
from services.api_keys import PREFIX
from services.durable import made_once
from services.http.problems import Unauthenticated
from services.http.rates import Rate
from services.http.sources import household_of
from services.known_issuers import is_loopback
from services.logs import note_person
from services.settings import Settings

BACKDATE = "backdate"
"""The scope that may say, by Occurred-At, that something happened earlier."""

TOKEN_BYTES_MAX = 8192
REMEMBERED_MAX = 20_000
SECONDS_MAX = 366 * 24 * 3600

_pattern = marks(Person, Pattern)
assert _pattern is not None
_PERSON = re.compile(_pattern.regex)
_SCOPES = re.compile(r"[\x21-\x7e]+(?: [\x21-\x7e]+)*|")


@dataclass(frozen=True, slots=True)
class Identity:
    """A person, as an issuer vouches for them until `expires` (seconds since 1970, by the real clock); or a machine.

    Until then nobody asks the issuer again.
    """

    person: str
    scopes: frozenset[str]
    expires: float
    is_machine: bool = False


class Issuer(Protocol):
    """Verifies the tokens that it, or the identity provider it stands for, made."""

    async def verify(self, token: str) -> Identity:
        """Whom the token speaks for. Raises Unauthenticated."""


Machines = Callable[[str], Identity | None]
"""Whom the token of a machine's key speaks for, now."""

KEYS = PREFIX.encode()


class Session(Protocol):
    """A browser that is logged in."""

    @property
    def identity(self) -> Identity: ...


class Sessions(Protocol):
    """Knows, by their cookies, the browsers that are logged in."""

    async def visitor(self, headers: Mapping[bytes, bytes]) -> Session | None:
        """Whose browser asks."""

    async def sender(self, headers: Mapping[bytes, bytes]) -> Session | None:
        """Whose browser sends something that changes something. Raises CrossSite unless a page of ours made it."""


class Identities:
    """The accepted issuers, and the tokens they vouched for: each is verified once, and remembered for so long.

    `machine` knows whose a key's token is. The log can end a key at any time, so it is asked every time.
    `sessions` knows the browsers that are logged in; without it nobody comes by cookie. `failures` limits how often a
    network address may show what lets nobody in: then only tokens that are known already count there.
    """

    def __init__(
        self,
        issuers: Iterable[Issuer],
        machine: Machines = lambda token: None,
        sessions: Sessions | None = None,
        failures: Rate | None = None,
    ) -> None:
        self._issuers = tuple(issuers)
        self._machine = machine
        self._sessions = sessions
        self._failures = failures
        self._remembered: dict[bytes, Identity] = {}

    def known(self, authorization: bytes | None) -> Identity | None:
        """The caller, where the token was verified earlier and has not expired; a machine's is looked up at once."""
        if authorization is None or authorization[:7].lower() != b"bearer ":
            return None
        token = authorization[7:]
        if token.startswith(KEYS):
            return self._machine(token.decode("ascii", "replace"))
        known = self._remembered.get(sha256(token).digest())
        return known if known is not None and known.expires > time.time() else None

    async def of_read(self, headers: Mapping[bytes, bytes], source: str) -> Identity:
        """Who asks: whoever the Authorization header speaks for, else whose session it is.

        `source` is the network address that it comes from. Raises Unauthenticated, TooManyRequests.
        """
        if self._sessions is None or b"authorization" in headers or b"cookie" not in headers:
            return await self.of(headers.get(b"authorization"), source)
        with self._trying(source):
            return _noted(_visiting(await self._sessions.visitor(headers)))

    async def of_command(self, headers: Mapping[bytes, bytes], source: str) -> Identity:
        """Who gives a command, in the same way. Raises Unauthenticated, CrossSite, TooManyRequests."""
        if self._sessions is None or b"authorization" in headers or b"cookie" not in headers:
            return await self.of(headers.get(b"authorization"), source)
        with self._trying(source):
            return _noted(_visiting(await self._sessions.sender(headers)))

    async def of(self, authorization: bytes | None, source: str = "") -> Identity:
        """The caller, from the Authorization header. Raises Unauthenticated, TooManyRequests."""
        if authorization is None:
            raise Unauthenticated
        if (known := self.known(authorization)) is not None:
            return _noted(known)
        with self._trying(source):
            is_bearer = authorization[:7].lower() == b"bearer "
            if not is_bearer or len(authorization) > TOKEN_BYTES_MAX or authorization[7:].startswith(KEYS):
                raise Unauthenticated
            verified = await self._verified(authorization[7:])
        self._remember(sha256(authorization[7:]).digest(), verified)
        return _noted(verified)

    def _trying(self, source: str) -> AbstractContextManager[None]:
        return nullcontext() if self._failures is None else self._failures.of_failures(household_of(source))

    async def _verified(self, raw: bytes) -> Identity:
        try:
            token = raw.decode("ascii")
        except UnicodeDecodeError as error:
            raise Unauthenticated from error
        for issuer in self._issuers:
            with suppress(Unauthenticated):
                return await issuer.verify(token)
        raise Unauthenticated

    def _remember(self, digest: bytes, identity: Identity) -> None:
        """Where there are too many, the oldest go: they would only be verified again."""
        self._remembered.pop(digest, None)
        self._remembered[digest] = identity
        while len(self._remembered) > REMEMBERED_MAX:
            del self._remembered[next(iter(self._remembered))]


def _noted(identity: Identity) -> Identity:
    note_person(identity.person)
    return identity


def _visiting(session: Session | None) -> Identity:
    if session is None:
        raise Unauthenticated
    return session.identity


class DevelopmentOnly(Exception):
    """Someone asked for the development issuer where others could reach it."""


class DevelopmentIssuer:
    """Makes and verifies tokens (EdDSA) with a key of this installation. Development mode on loopback only."""

    NAME = "urn:assent:development"
    AUDIENCE = "urn:assent"

    def __init__(self, settings: Settings) -> None:
        if settings.mode != "development" or not is_loopback(settings.host):
            raise DevelopmentOnly(
                "The development issuer works in development mode on a loopback address only; "
                f"this is {settings.mode} mode on {settings.host}."
            )
        key = _key(settings.data / "development" / "issuer.pem")
        self._private, self._public = key, key.public_key()
        self._key_id = sha256(self._public.public_bytes_raw()).hexdigest()[:16]

    def issue(self, person: str, scopes: Iterable[str] = (), seconds: int = 12 * 3600) -> str:
        """A token for that person. Raises ValueError where it could not be accepted."""
        now = int(time.time())
        scope = " ".join(scopes)
        if not is_person(person) or not 0 < seconds <= SECONDS_MAX or not _SCOPES.fullmatch(scope):
            raise ValueError(f"no token can be made for {person!r}, scopes {scope!r}, {seconds} seconds")
        claims = {
            "iss": self.NAME,
            "aud": self.AUDIENCE,
            "sub": person,
            "scope": scope,
            "iat": now,
            "nbf": now,
            "exp": now + seconds,
        }
        return jwt.encode(claims, self._private, "EdDSA", {"kid": self._key_id, "typ": "at+jwt"})

    async def verify(self, token: str) -> Identity:
        try:
            header = jwt.get_unverified_header(token)
            if header.get("kid") != self._key_id or header.get("typ") != "at+jwt":
                raise Unauthenticated
            claims = jwt.decode(
                token,
                self._public,
                algorithms=["EdDSA"],
                issuer=self.NAME,
                audience=self.AUDIENCE,
                options={"require": ["iss", "aud", "sub", "iat", "nbf", "exp"], "strict_aud": True},
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise Unauthenticated from error
        return _identity(claims)


def _identity(claims: dict[str, object]) -> Identity:
    scope, expires = claims.get("scope", ""), claims["exp"]
    if not isinstance(scope, str) or not isinstance(expires, int | float):
        raise Unauthenticated
    if not 0 < expires - time.time() <= SECONDS_MAX:
        raise Unauthenticated
    return Identity(person_of(claims["sub"]), frozenset(scope.split()), float(expires))


def person_of(name: object) -> str:
    """The name that an issuer gave, if it can be a person's. Raises Unauthenticated."""
    if not isinstance(name, str) or not is_person(name):
        raise Unauthenticated
    return name


def is_person(name: str) -> bool:
    """Whether a name is one that the log takes for a person; the system actor is none, and no machine is."""
    return _PERSON.fullmatch(name) is not None and name != SYSTEM.person and not name.startswith(key.PERSON)


def _key(path: Path) -> Ed25519PrivateKey:
    """The key of this installation."""
    key = load_pem_private_key(made_once(path, _new_key), password=None)
    assert isinstance(key, Ed25519PrivateKey), f"{path} holds another kind of key"
    return key


def _new_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
