"""Is this token of that identity provider, meant for us, and of now? Then whom does it speak for?"""

import json
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from typing import Any

import jwt

from services.http.identity import SECONDS_MAX, Identity, person_of
from services.http.problems import Unauthenticated
from services.http.providers import FRESH_SECONDS, Provider

LEEWAY_SECONDS = 30
"""By how much the provider's clock may differ from ours."""

KEY_ID_MAX = 256

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_HEADERS = frozenset({"alg", "kid", "typ", "x5t", "x5t#S256"})
"""What may stand in a header. Others bring keys along or change what the rest means, which is not for the sender."""


class OpenIdIssuer:
    """Takes the access tokens of one provider, and the ID tokens that a login there ends with."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self._known = provider.known
        self._types = frozenset(_type(each) for each in provider.known.types)

    async def verify(self, token: str) -> Identity:
        """Whom an access token speaks for, for as long as its key is known to be good.

        Raises Unauthenticated, ProviderAway.
        """
        claims = await self._claims(token, self._types, self._known.audience)
        if "cnf" in claims:
            raise Unauthenticated  # it is bound to a key that whoever shows it would have to prove
        return self._identity(claims)

    async def verify_login(self, token: str, nonce: str) -> Identity:
        """Whom the ID token of a login speaks for. Raises Unauthenticated, ProviderAway."""
        claims = await self._claims(token, frozenset({"", "jwt"}), self._known.client_id)
        if claims.get("nonce") != nonce or claims.get("azp", self._known.client_id) != self._known.client_id:
            raise Unauthenticated
        return self._identity(claims)

    async def _claims(self, token: str, types: frozenset[str], audience: str) -> dict[str, Any]:
        """What it says, once all of it was checked. Raises Unauthenticated, ProviderAway."""
        header, claims = parts_of(token)
        algorithm, id = header.get("alg"), header.get("kid")
        if claims.get("iss") != self._known.issuer or not _HEADERS.issuperset(header):
            raise Unauthenticated
        if algorithm not in self._known.algorithms or _type(header.get("typ", "")) not in types:
            raise Unauthenticated
        if not isinstance(id, str) or not 0 < len(id) <= KEY_ID_MAX:
            raise Unauthenticated
        key = await self.provider.key(id)
        if key is None or not key.fits(algorithm):
            raise Unauthenticated
        try:
            return jwt.decode(
                token,
                key.public,
                algorithms=[algorithm],
                issuer=self._known.issuer,
                audience=audience,
                leeway=LEEWAY_SECONDS,
                options={"require": ["iss", "aud", "sub", "iat", "exp"], "strict_aud": True},
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
            raise Unauthenticated from error

    def _identity(self, claims: dict[str, Any]) -> Identity:
        """Raises Unauthenticated."""
        name = claims.get(self._known.person)
        if not isinstance(name, str) or not name:
            raise Unauthenticated
        if self._known.person == "email" and claims.get("email_verified") is not True:
            raise Unauthenticated  # at many providers one may write any address into one's own profile
        now = time.time()
        if claims["exp"] - now > SECONDS_MAX:
            raise Unauthenticated
        expires = min(claims["exp"] + LEEWAY_SECONDS, now + FRESH_SECONDS)
        return Identity(person_of(name + self._known.suffix), _scopes(claims.get(self._known.scopes, "")), expires)


def _scopes(claim: Any) -> frozenset[str]:
    """From a text with spaces, or a list. Raises Unauthenticated."""
    listed = claim.split() if isinstance(claim, str) else claim
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise Unauthenticated
    return frozenset(listed)


def _type(value: Any) -> str:
    """As types are compared: without case, and without what every one of them may begin with."""
    if not isinstance(value, str):
        raise Unauthenticated
    return value.lower().removeprefix("application/")


def parts_of(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header and the claims of a signed token, before anything is believed of it. Raises Unauthenticated.

    There is one way to write a token down: what is encoded differently, or reads in two ways, is refused.
    """
    if _COMPACT.fullmatch(token) is None:
        raise Unauthenticated
    try:
        raw = [_bytes(each) for each in token.split(".")]
        header, claims = (
            json.loads(each.decode(), object_pairs_hook=_once, parse_constant=_refuse) for each in raw[:2]
        )
    except (ValueError, RecursionError) as error:
        raise Unauthenticated from error
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise Unauthenticated
    for name in ("exp", "iat", "nbf"):
        if name in claims and type(claims[name]) not in (int, float):
            raise Unauthenticated
    return header, claims


def _bytes(text: str) -> bytes:
    found = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if urlsafe_b64encode(found).rstrip(b"=").decode() != text:
        raise ValueError("it could be written differently")
    return found


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} stands there twice")
        found[name] = value
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")
