"""Whom does a token speak for, and which tokens speak for nobody?"""

import base64
import json
import stat
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.http import identity
from services.http.identity import DevelopmentIssuer, DevelopmentOnly, Identities, Identity
from services.http.issuers import issuers_of
from services.http.problems import Unauthenticated
from services.settings import Settings


@pytest.fixture
def issuer(tmp_path: Path) -> DevelopmentIssuer:
    return DevelopmentIssuer(Settings(data=tmp_path))


async def of(issuer: DevelopmentIssuer, token: str) -> Identity:
    return await Identities([issuer]).of(b"Bearer " + token.encode())


async def test_a_token_speaks_for_its_person_and_scopes(issuer: DevelopmentIssuer) -> None:
    found = await of(issuer, issuer.issue("cora", ["backdate", "feed"]))
    assert (found.person, found.scopes) == ("cora", {"backdate", "feed"})


async def test_the_word_bearer_may_be_written_in_any_case(issuer: DevelopmentIssuer) -> None:
    token = issuer.issue("cora").encode()
    assert (await Identities([issuer]).of(b"bearer " + token)).person == "cora"


async def test_another_process_of_the_same_installation_takes_the_token(tmp_path: Path) -> None:
    token = DevelopmentIssuer(Settings(data=tmp_path)).issue("cora")
    assert (await of(DevelopmentIssuer(Settings(data=tmp_path)), token)).person == "cora"


def test_the_key_is_for_us_alone_to_read(tmp_path: Path, issuer: DevelopmentIssuer) -> None:
    key = tmp_path / "development" / "issuer.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


@pytest.mark.parametrize("person", ["", "system", "a b", "a/b", "x" * 129, "ä", "a\0", "cora\n", ".cora"])
def test_a_token_is_made_for_people_only(issuer: DevelopmentIssuer, person: str) -> None:
    with pytest.raises(ValueError):
        issuer.issue(person)


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "production"},
        {"host": "0.0.0.0"},  # noqa: S104
        {"host": "::"},
        {"host": "192.0.2.1"},
        {"host": "example.org"},
        {"host": "localhost.example.org"},
    ],
)
def test_the_development_issuer_exists_on_loopback_in_development_mode_only(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    with pytest.raises(DevelopmentOnly):
        DevelopmentIssuer(Settings(data=tmp_path, **settings))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_has_several_names(tmp_path: Path, host: str) -> None:
    assert DevelopmentIssuer(Settings(data=tmp_path, host=host)).issue("cora")


async def test_production_does_not_take_a_token_of_development(tmp_path: Path) -> None:
    token = DevelopmentIssuer(Settings(data=tmp_path)).issue("cora")
    with pytest.raises(Unauthenticated):
        await Identities(issuers_of(Settings(data=tmp_path, mode="production")).all()).of(b"Bearer " + token.encode())


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def forged(issuer: DevelopmentIssuer, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token signed with the issuer's own key whose claims or header differ; None leaves one out."""
    now = int(time.time())
    usual = {"iss": issuer.NAME, "aud": issuer.AUDIENCE, "sub": "cora", "iat": now, "nbf": now, "exp": now + 60}
    given = {name: value for name, value in {**usual, **claims}.items() if value is not None}
    heads = {"kid": issuer._key_id, "typ": "at+jwt", **(header or {})}
    return jwt.encode(given, issuer._private, "EdDSA", heads)


async def test_a_forgery_that_differs_in_nothing_would_be_taken(issuer: DevelopmentIssuer) -> None:
    assert (await of(issuer, forged(issuer))).person == "cora"


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 1},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": 10**40},
        {"nbf": 4_000_000_000},
        {"nbf": None},
        {"iat": 4_000_000_000},
        {"iat": None},
        {"aud": "urn:other"},
        {"aud": ["urn:assent", "urn:other"]},
        {"aud": None},
        {"iss": "urn:other"},
        {"iss": None},
        {"sub": None},
        {"sub": "system"},
        {"sub": "no one"},
        {"sub": "cora\x00"},
        {"scope": ["backdate"]},
        {"header": {"kid": "other"}},
        {"header": {"kid": "../issuer.pem"}},
        {"header": {"typ": "JWT"}},
    ],
    ids=str,
)
async def test_a_token_whose_claims_are_wrong_speaks_for_nobody(
    issuer: DevelopmentIssuer, claims: dict[str, Any]
) -> None:
    with pytest.raises(Unauthenticated):
        await of(issuer, forged(issuer, **claims))


def confused(issuer: DevelopmentIssuer) -> dict[str, str]:
    """Tokens that mean to be taken for the issuer's."""
    good = issuer.issue("cora")
    head, body, signature = good.split(".")
    now = int(time.time())
    claims = {"iss": issuer.NAME, "aud": issuer.AUDIENCE, "sub": "root", "iat": now, "nbf": now, "exp": now + 60}
    public = issuer._public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    heads = {"kid": issuer._key_id, "typ": "at+jwt"}
    return {
        "no signature": f"{head}.{body}.",
        "algorithm none": f"{part({'alg': 'none', **heads})}.{part(claims)}.",
        "algorithm None": f"{part({'alg': 'None', **heads})}.{part(claims)}.{signature}",
        "the public key as a secret": jwt.encode(claims, public, "HS256", heads),
        "another key": jwt.encode(claims, Ed25519PrivateKey.generate(), "EdDSA", heads),
        "another body": f"{head}.{part(claims)}.{signature}",
        "another head": f"{part({'alg': 'EdDSA', **heads, 'x': 1})}.{body}.{signature}",
        "a cut signature": good[:-4],
        "a longer one": good + "AAAA",
        "two parts": f"{head}.{body}",
        "four parts": good + ".x",
        "nothing": "",
        "a space": " ",
        "not base64": "ä.ö.ü",
        "a nested bomb": f"{base64.urlsafe_b64encode(b'[' * 3000).decode()}.{body}.{signature}",
        "a list for a head": f"{part([])}.{body}.{signature}",
        "too long": good + "A" * 10_000,
    }


async def test_a_confused_or_tampered_token_speaks_for_nobody(issuer: DevelopmentIssuer) -> None:
    taken = []
    for name, token in confused(issuer).items():
        try:
            await of(issuer, token)
        except Unauthenticated:
            continue
        taken.append(name)
    assert taken == []


@pytest.mark.parametrize("header", [None, b"", b"Bearer", b"Basic cm9vdDpyb290", b"Bearer  ", b"\xff\xfe"])
async def test_without_a_bearer_token_nobody_speaks(issuer: DevelopmentIssuer, header: bytes | None) -> None:
    with pytest.raises(Unauthenticated):
        await Identities([issuer]).of(header)


class Counting:
    """An issuer that counts how often it is asked."""

    def __init__(self, seconds: float) -> None:
        self.asked = 0
        self.seconds = seconds

    async def verify(self, token: str) -> Identity:
        self.asked += 1
        return Identity("cora", frozenset(), time.time() + self.seconds)


async def test_a_token_is_verified_once() -> None:
    issuer = Counting(60)
    identities = Identities([issuer])
    for _ in range(3):
        await identities.of(b"Bearer x")
    assert issuer.asked == 1


async def test_its_issuer_is_asked_again_when_a_remembered_token_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    issuer = Counting(60)
    identities = Identities([issuer])
    await identities.of(b"Bearer x")
    later = time.time() + 61
    monkeypatch.setattr(identity.time, "time", lambda: later)
    assert identities.known(b"Bearer x") is None
    await identities.of(b"Bearer x")
    assert issuer.asked == 2


async def test_an_expired_token_of_development_is_not_taken_again(
    issuer: DevelopmentIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    identities, token = Identities([issuer]), issuer.issue("cora", seconds=60).encode()
    await identities.of(b"Bearer " + token)
    later = time.time() + 61
    monkeypatch.setattr(identity.time, "time", lambda: later)
    with pytest.raises(Unauthenticated):
        await identities.of(b"Bearer " + token)


async def test_the_memory_for_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "REMEMBERED_MAX", 3)
    identities = Identities([Counting(60)])
    for nth in range(10):
        await identities.of(b"Bearer %d" % nth)
    assert len(identities._remembered) == 3


async def test_any_accepted_issuer_may_vouch(issuer: DevelopmentIssuer) -> None:
    found = await Identities([issuer, Counting(60)]).of(b"Bearer x")
    assert found.person == "cora"
