"""What does an identity provider say of itself: its addresses, and the keys that it signs with?"""

import asyncio
import json
import logging
import ssl
import time
from dataclasses import dataclass
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from domain.errors import Refused
from services.known_issuers import KnownIssuer, is_safe_address

FRESH_SECONDS = 300.0
"""How long what a provider said is believed without asking again: so long may a key live on that it withdrew."""

STALE_SECONDS_MAX = 3600.0
"""How long keys are believed while the provider cannot be reached."""

PAUSE_SECONDS = 10.0
"""The least time between two questions: key ids cost nothing to invent, and cannot make us ask more often."""

FETCH_SECONDS_MAX = 3.0
FETCH_BYTES_MAX = 262_144
KEYS_MAX = 100
RSA_BITS_MIN = 2048

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}

_log = logging.getLogger(__name__)


class ProviderAway(Refused):
    """Nobody's token is judged by what cannot be known."""

    status, rule, title = 503, "identity_provider", "The identity provider cannot be reached"
    retry_after = 10

    def __init__(self) -> None:
        super().__init__("Your token cannot be verified until the identity provider answers.", "the identity provider")


class UnfitAnswer(Exception):
    """What the provider said cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key, and the algorithm that it is for where the provider says so."""

    public: PublicKey
    algorithm: str | None

    def fits(self, algorithm: str) -> bool:
        """Whether a signature by that algorithm may be checked with it."""
        if self.algorithm not in (None, algorithm):
            return False
        match self.public:
            case RSAPublicKey():
                return algorithm[:2] in ("RS", "PS")
            case EllipticCurvePublicKey():
                return _CURVES.get(algorithm) == self.public.curve.name
            case Ed25519PublicKey():
                return algorithm == "EdDSA"


@dataclass(frozen=True, slots=True)
class Said:
    """What a provider said at a time (monotonic, in seconds): where to go, and its keys by their ids."""

    at: float
    authorization: str
    token: str
    keys: dict[str, SigningKey]


class Provider:
    """One identity provider. It is asked when something must be known, and what it says is kept for a while."""

    def __init__(self, known: KnownIssuer, is_development: bool) -> None:
        if not is_safe_address(known.issuer, is_development):
            raise UnfitAnswer(f"{known.issuer} is not https: whoever is on the way could speak for it")
        self.known = known
        self._is_development = is_development
        self._said: Said | None = None
        self._asked = float("-inf")
        self._asking = asyncio.Lock()
        self._tls: ssl.SSLContext | None = None

    async def key(self, id: str) -> SigningKey | None:
        """The key of that id; a new one is asked for at once, if it was not just asked. Raises ProviderAway."""
        found = (await self.said()).keys.get(id)
        if found is None:
            await self._ask()
            found = (await self.said()).keys.get(id)
        return found

    async def said(self) -> Said:
        """What it says, fresh; stale for a while where it cannot be reached. Raises ProviderAway."""
        if self._age() > FRESH_SECONDS:
            await self._ask()
        if self._said is None or self._age() > STALE_SECONDS_MAX:
            raise ProviderAway
        return self._said

    def _age(self) -> float:
        return float("inf") if self._said is None else time.monotonic() - self._said.at

    async def _ask(self) -> None:
        """Whoever comes while it is asked waits for that answer."""
        async with self._asking:
            now = time.monotonic()
            if now - self._asked < PAUSE_SECONDS:
                return
            self._asked = now
            try:
                self._said = await self._fetched(now)
            except (UnfitAnswer, httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
                _log.warning("%s did not say its keys: %s", self.known.issuer, error or type(error).__name__)

    async def _fetched(self, now: float) -> Said:
        """Raises UnfitAnswer, httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError."""
        async with self._client() as client:
            document = await self._get(client, self.known.issuer.rstrip("/") + "/.well-known/openid-configuration")
            if document.get("issuer") != self.known.issuer:
                raise UnfitAnswer(f"its discovery document is that of {str(document.get('issuer'))[:200]!r}")
            if self.known.has_login and "S256" not in document.get("code_challenge_methods_supported", ["S256"]):
                raise UnfitAnswer("it knows no PKCE with S256, and login needs that")
            jwks = await self._get(client, self._address(document, "jwks_uri"))
        addresses = ("", "")
        if self.known.has_login:
            addresses = (self._address(document, "authorization_endpoint"), self._address(document, "token_endpoint"))
        return Said(now, *addresses, keys_of(jwks))

    async def redeem(self, form: dict[str, str]) -> dict[str, Any]:
        """What the token endpoint answers to a form. Raises ProviderAway, UnfitAnswer."""
        said = await self.said()
        try:
            secret = await asyncio.to_thread(self.known.client_secret)
            async with self._client() as client:
                auth = httpx.BasicAuth(_in_form(self.known.client_id), _in_form(secret)) if secret else None
                own = {} if secret else {"client_id": self.known.client_id}
                request = client.build_request("POST", said.token, data={**form, **own})
                return await self._object(client, request, auth)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            _log.warning("%s did not redeem a code: %s", self.known.issuer, error or type(error).__name__)
            raise ProviderAway from error

    def _client(self) -> httpx.AsyncClient:
        if self._tls is None:
            self._tls = ssl.create_default_context(cafile=self.known.ca_file or None)
        return httpx.AsyncClient(
            verify=self._tls,
            follow_redirects=False,
            timeout=FETCH_SECONDS_MAX,
            headers={"accept": "application/json", "accept-encoding": "identity"},
        )

    def _address(self, document: dict[str, Any], name: str) -> str:
        found = document.get(name)
        if not isinstance(found, str) or not is_safe_address(found, self._is_development):
            raise UnfitAnswer(f"its {name} is no https address")
        return found

    async def _get(self, client: httpx.AsyncClient, url: str) -> dict[str, Any]:
        return await self._object(client, client.build_request("GET", url), None)

    async def _object(
        self, client: httpx.AsyncClient, request: httpx.Request, auth: httpx.Auth | None
    ) -> dict[str, Any]:
        """The JSON object that it answers, in time and not too long. Raises UnfitAnswer, HTTPError, TimeoutError."""
        body = bytearray()
        async with asyncio.timeout(FETCH_SECONDS_MAX):
            answer = await client.send(request, auth=auth, stream=True)
            try:
                if answer.status_code >= 500:
                    raise httpx.HTTPStatusError(f"it answers {answer.status_code}", request=request, response=answer)
                if answer.status_code != 200 or "content-encoding" in answer.headers:
                    raise UnfitAnswer(f"it answered {answer.status_code} at {request.url}")
                async for chunk in answer.aiter_raw():
                    body += chunk
                    if len(body) > FETCH_BYTES_MAX:
                        raise UnfitAnswer(f"more than {FETCH_BYTES_MAX} bytes at {request.url}")
            finally:
                await answer.aclose()
        try:
            found = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise UnfitAnswer(f"no JSON at {request.url}") from error
        if not isinstance(found, dict):
            raise UnfitAnswer(f"no JSON object at {request.url}")
        return found


def _in_form(text: str) -> str:
    """As RFC 6749 (2.3.1) wants the halves of client_secret_basic."""
    return str(httpx.QueryParams({"": text}))[1:]


def keys_of(jwks: dict[str, Any]) -> dict[str, SigningKey]:
    """The public keys for signatures among a JWK Set; an id that stands there twice means none. Raises UnfitAnswer."""
    listed = jwks.get("keys")
    if not isinstance(listed, list) or len(listed) > KEYS_MAX:
        raise UnfitAnswer(f"its keys are no list of at most {KEYS_MAX}")
    found: dict[str, SigningKey] = {}
    twice: set[str] = set()
    for each in listed:
        id = each.get("kid") if isinstance(each, dict) else None
        if not isinstance(id, str) or not id:
            continue
        if id in found:
            twice.add(id)
        if (key := _key_of(each)) is not None:
            found[id] = key
    return {id: key for id, key in found.items() if id not in twice}


def _key_of(jwk: dict[str, Any]) -> SigningKey | None:
    """None for whatever is not a public key that verifies signatures, or is too weak."""
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations or "d" in jwk:
        return None
    try:
        public = jwt.PyJWK({name: value for name, value in jwk.items() if name != "alg"}).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if not isinstance(public, PublicKey) or (isinstance(public, RSAPublicKey) and public.key_size < RSA_BITS_MIN):
        return None
    algorithm = jwk.get("alg")
    return SigningKey(public, algorithm) if algorithm is None or isinstance(algorithm, str) else None
