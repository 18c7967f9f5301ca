"""Are people taken from an identity provider, and from nobody else, also while it changes its keys or is away?"""

import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from services.http import providers
from services.http.identity import Identities
from services.http.oidc import OpenIdIssuer
from services.http.problems import Unauthenticated
from services.http.providers import Provider, ProviderAway, UnfitAnswer
from services.known_issuers import KnownIssuer, known_issuers
from services.settings import BadSetting, read_settings
from tests.services.http.identity_provider import AUDIENCE, IdentityProvider


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with IdentityProvider() as running:
        yield running


def issuer_of(provider: IdentityProvider, **more: Any) -> OpenIdIssuer:
    return OpenIdIssuer(Provider(KnownIssuer(provider.issuer, AUDIENCE, **more), is_development=True))


@pytest.fixture
def issuer(provider: IdentityProvider) -> OpenIdIssuer:
    return issuer_of(provider)


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider may be asked again at once."""
    monkeypatch.setattr(providers, "PAUSE_SECONDS", 0.0)


async def refused(issuer: OpenIdIssuer, token: str) -> bool:
    try:
        await Identities([issuer]).of(b"Bearer " + token.encode())
    except Unauthenticated:
        return True
    return False


async def test_a_token_of_the_provider_speaks_for_its_person(provider: IdentityProvider, issuer: OpenIdIssuer) -> None:
    found = await issuer.verify(provider.token("nina", scope="openid backdate"))
    assert (found.person, found.scopes, found.is_machine) == ("nina", {"openid", "backdate"}, False)


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
async def test_every_usual_algorithm_is_taken(provider: IdentityProvider, algorithm: str) -> None:
    provider.turn("a key", algorithm.replace("PS", "RS"))
    assert (await issuer_of(provider).verify(provider.sign(provider.claims("nina"), algorithm))).person == "nina"


async def test_person_and_scopes_stand_in_the_claims_that_the_operator_names(provider: IdentityProvider) -> None:
    named = issuer_of(provider, person="preferred_username", scopes="scp", suffix="@agency.example")
    found = await named.verify(provider.token("f81d4fae", preferred_username="cora", scp=["backdate"]))
    assert (found.person, found.scopes) == ("cora@agency.example", {"backdate"})
    assert await refused(named, provider.token("f81d4fae"))


@pytest.mark.parametrize("name", ["system", "key.k1", "", "no one", "cora\n", "x" * 129, "ä", 7, None, ["cora"]])
async def test_no_token_speaks_for_a_machine_the_system_or_a_name_that_is_none(
    provider: IdentityProvider, name: Any
) -> None:
    named = issuer_of(provider, person="username")
    assert await refused(named, provider.token("somebody", username=name))


@pytest.mark.parametrize("verified", [None, False, "true", 1])
async def test_an_address_that_nobody_verified_names_nobody(provider: IdentityProvider, verified: Any) -> None:
    named = issuer_of(provider, person="email")
    assert await refused(named, provider.token("1", email="cora@agency.example", email_verified=verified))
    found = await named.verify(provider.token("1", email="cora@agency.example", email_verified=True))
    assert found.person == "cora@agency.example"


async def test_two_providers_cannot_speak_for_each_others_people(provider: IdentityProvider) -> None:
    with IdentityProvider() as other:
        both = Identities([issuer_of(provider, suffix="@one"), issuer_of(other, suffix="@two")])
        assert (await both.of(b"Bearer " + provider.token("cora").encode())).person == "cora@one"
        assert (await both.of(b"Bearer " + other.token("cora").encode())).person == "cora@two"
        assert (await both.of(b"Bearer " + other.token("cora@one").encode())).person == "cora@one@two"


async def test_the_provider_is_asked_once_for_many_tokens(provider: IdentityProvider, issuer: OpenIdIssuer) -> None:
    for nth in range(5):
        await issuer.verify(provider.token(f"nina{nth}"))
    assert provider.asked == ["/.well-known/openid-configuration", "/keys"]


async def test_a_new_key_counts_at_once_and_a_withdrawn_one_no_longer(
    provider: IdentityProvider, issuer: OpenIdIssuer, unhurried: None
) -> None:
    old = provider.token("nina")
    await issuer.verify(old)
    provider.turn("second")
    assert (await issuer.verify(provider.token("nina"))).person == "nina"
    assert await refused(issuer, old)


async def test_a_withdrawn_key_counts_for_so_long_as_answers_are_fresh(
    provider: IdentityProvider, issuer: OpenIdIssuer, unhurried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    identities, old = Identities([issuer]), provider.token("nina").encode()
    found = await identities.of(b"Bearer " + old)
    assert found.expires - jwt.decode(old, options={"verify_signature": False})["iat"] < providers.FRESH_SECONDS + 5
    provider.turn("second")
    assert (await identities.of(b"Bearer " + old)).person == "nina"
    identities._remembered.clear()
    monkeypatch.setattr(providers, "FRESH_SECONDS", 0.0)
    with pytest.raises(Unauthenticated):
        await identities.of(b"Bearer " + old)


async def test_key_ids_that_nobody_knows_do_not_make_us_ask_again_and_again(
    provider: IdentityProvider, issuer: OpenIdIssuer
) -> None:
    await issuer.verify(provider.token("nina"))
    for nth in range(20):
        assert await refused(issuer, provider.sign(provider.claims("nina"), kid=f"unknown-{nth}"))
    assert provider.asked.count("/keys") == 1


async def test_known_keys_are_believed_for_a_while_when_the_provider_is_away(
    provider: IdentityProvider, issuer: OpenIdIssuer, unhurried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    await issuer.verify(provider.token("nina"))
    provider.is_away = True
    monkeypatch.setattr(providers, "FRESH_SECONDS", 0.0)
    assert (await issuer.verify(provider.token("tom"))).person == "tom"
    monkeypatch.setattr(providers, "STALE_SECONDS_MAX", 0.0)
    with pytest.raises(ProviderAway):
        await issuer.verify(provider.token("abe"))


async def test_a_token_of_nobody_is_refused_while_the_provider_is_away(
    provider: IdentityProvider, issuer: OpenIdIssuer
) -> None:
    provider.is_away = True
    assert await refused(issuer, provider.token("nina", iss="https://other.example"))
    with pytest.raises(ProviderAway):
        await issuer.verify(provider.token("nina"))


UNFIT: dict[str, dict[str, Any]] = {
    "another issuer": {"/.well-known/openid-configuration": {"issuer": "https://other.example"}},
    "keys by plain http": {"/.well-known/openid-configuration": {"jwks_uri": "http://keys.example/keys"}},
    "keys in a file": {"/.well-known/openid-configuration": {"jwks_uri": "file:///etc/passwd"}},
    "keys behind a password": {"/.well-known/openid-configuration": {"jwks_uri": "https://a:b@127.0.0.1/keys"}},
    "no JSON": {"/keys": b"<html>"},
    "a list": {"/keys": []},
    "too long": {"/keys": b'{"keys": [' + b" " * providers.FETCH_BYTES_MAX + b"]}"},
    "a bomb": {"/keys": b"[" * 100_000},
    "too many keys": {"/keys": {"keys": [{}] * (providers.KEYS_MAX + 1)}},
    "no keys": {"/keys": {}},
}


@pytest.mark.parametrize("documents", UNFIT.values(), ids=UNFIT.keys())
async def test_what_a_provider_may_not_say_is_not_believed(
    provider: IdentityProvider, issuer: OpenIdIssuer, documents: dict[str, Any]
) -> None:
    provider.documents = {
        path: {**provider.discovery(), **said} if path.startswith("/.well-known") else said
        for path, said in documents.items()
    }
    with pytest.raises(ProviderAway):
        await issuer.verify(provider.token("nina"))


@pytest.mark.parametrize(
    "change",
    [
        {"use": "enc"},
        {"key_ops": ["encrypt"]},
        {"key_ops": "verify"},
        {"d": "AAAA"},
        {"alg": "RS256"},
        {"kty": "oct", "k": "AAAA"},
        {"kty": "RSA"},
        {"kid": 7},
        {"x": "!"},
    ],
    ids=str,
)
async def test_a_key_that_is_not_for_this_verifies_nothing(
    provider: IdentityProvider, issuer: OpenIdIssuer, change: dict[str, Any]
) -> None:
    (good,) = provider.jwks()["keys"]
    provider.documents = {"/keys": {"keys": [{**good, **change}]}}
    assert await refused(issuer, provider.token("nina"))
    provider.documents = {"/keys": {"keys": [good]}}
    assert not await refused(issuer_of(provider), provider.token("nina"))


async def test_a_key_id_that_stands_twice_names_no_key(provider: IdentityProvider, issuer: OpenIdIssuer) -> None:
    listed = provider.jwks()["keys"]
    provider.documents = {"/keys": {"keys": listed * 2}}
    assert await refused(issuer, provider.token("nina"))


@pytest.mark.parametrize("address", ["http://id.example", "http://192.0.2.1", "http://localhost.example", "https://"])
def test_a_provider_is_reached_by_https(address: str) -> None:
    with pytest.raises(UnfitAnswer):
        Provider(KnownIssuer(address, AUDIENCE), is_development=True)


def test_outside_development_also_on_this_machine() -> None:
    with pytest.raises(UnfitAnswer):
        Provider(KnownIssuer("http://127.0.0.1:9", AUDIENCE), is_development=False)
    environment = {
        "ASSENT_MODE": "production",
        "ASSENT_ISSUERS": '[{"issuer": "http://127.0.0.1:9", "audience": "a"}]',
    }
    with pytest.raises(BadSetting, match="not https"):
        read_settings(environment)


async def test_a_provider_may_have_an_authority_of_its_own_and_nobody_else_is_taken_for_it(tmp_path: Path) -> None:
    tls, authority = certified(tmp_path)
    with IdentityProvider(tls=tls) as provider:
        known = KnownIssuer(provider.issuer, AUDIENCE, ca_file=str(authority))
        trusting = OpenIdIssuer(Provider(known, is_development=False))
        doubting = OpenIdIssuer(Provider(KnownIssuer(provider.issuer, AUDIENCE), is_development=False))
        token = provider.token("nina")
        assert (await trusting.verify(token)).person == "nina"
        with pytest.raises(ProviderAway):
            await doubting.verify(token)


def certified(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """What a server on loopback shows, and the file of who certified it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    now = datetime.datetime.now(datetime.UTC)
    host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(hours=1))
    made = made.add_extension(host, critical=False).add_extension(x509.BasicConstraints(True, None), critical=True)
    certificate = made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "server.pem").write_bytes(private + certificate)
    (folder / "authority.pem").write_bytes(certificate)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "server.pem")
    return tls, folder / "authority.pem"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{", "JSON array"),
        ('{"issuer": "https://a"}', "JSON array"),
        ('[{"issuer": "https://a"}]', "audience"),
        ('[{"issuer": "https://a", "audience": "b", "colour": 1}]', "colour"),
        ('[{"issuer": "https://a", "audience": "b", "algorithms": ["HS256"]}]', "algorithms"),
        ('[{"issuer": "https://a", "audience": "b", "algorithms": ["none"]}]', "algorithms"),
        ('[{"issuer": "https://a", "audience": "b", "algorithms": []}]', "algorithms"),
        ('[{"issuer": "https://a", "audience": "b", "types": []}]', "types"),
        ('[{"issuer": "https://a", "audience": "b", "types": ["JWT"], "client_id": "b"}]', "ID token"),
        ('[{"issuer": "ftp://a", "audience": "b"}]', "https"),
        ('[{"issuer": "https://a?b", "audience": "b"}]', "query"),
        ('[{"issuer": "https://a", "audience": "b"}, {"issuer": "https://a", "audience": "c"}]', "once"),
        ('[{"issuer": "https://a", "audience": "b"}, {"issuer": "https://c", "audience": "b"}]', "suffix"),
    ],
)
def test_an_issuer_that_could_not_be_trusted_is_refused_at_the_start(text: str, wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        known_issuers(text)
