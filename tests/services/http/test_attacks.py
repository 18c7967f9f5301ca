"""Is any forged, replayed or misdirected token or session taken? The table says how each was made."""

import base64
import hmac
import json
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.http.identity import DevelopmentIssuer, Identities
from services.http.issuers import issuers_of
from services.http.oidc import OpenIdIssuer
from services.http.problems import Unauthenticated
from services.http.providers import Provider, ProviderAway
from services.known_issuers import ALGORITHMS, KnownIssuer
from services.settings import Settings
from tests.services.http.browser import Browser
from tests.services.http.conftest import Service
from tests.services.http.identity_provider import AUDIENCE, CLIENT, IdentityProvider, jwk

TOKENS_MIN = 200
SESSIONS_MIN = 100
Attacks = dict[str, str]


def encoded(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def header(provider: IdentityProvider, **more: Any) -> dict[str, Any]:
    return {"alg": "EdDSA", "kid": next(iter(provider.keys)), "typ": "at+jwt", **more}


def signed(provider: IdentityProvider, head: bytes | dict[str, Any], claims: bytes | dict[str, Any]) -> str:
    """Parts as they are given, truly signed by the provider's key (EdDSA)."""
    key = next(iter(provider.keys.values()))
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    text = f"{encoded(head)}.{encoded(claims)}"
    return f"{text}.{encoded(key.sign(text.encode()))}"


def of_no_algorithm(provider: IdentityProvider) -> Iterator[tuple[str, str]]:
    claims, good = provider.claims("root"), provider.token("nina").split(".")
    for name in ("none", "None", "NONE", "nOnE", "NoNe", "none ", " none", "none\x00", "", None, 0, [], ["none"], {}):
        for ending, signature in (("no signature", ""), ("a stolen signature", good[2]), ("one byte", "AA")):
            yield f"alg {name!r}, {ending}", f"{encoded(header(provider, alg=name))}.{encoded(claims)}.{signature}"
    head = header(provider)
    del head["alg"]
    yield "no alg", f"{encoded(head)}.{encoded(claims)}.{good[2]}"


def of_confused_keys(provider: IdentityProvider) -> Iterator[tuple[str, str]]:
    """The provider's public key in every form in which it lies about, as the secret of a symmetric algorithm."""
    public = next(iter(provider.keys.values())).public_key()
    forms = {
        "raw": public.public_bytes(Encoding.Raw, PublicFormat.Raw),
        "PEM": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "PEM without the last newline": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).strip(),
        "DER": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "SSH": public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        "JWK": json.dumps(provider.jwks()["keys"][0]).encode(),
        "x": provider.jwks()["keys"][0]["x"].encode(),
        "nothing": b"",
        "its issuer": provider.issuer.encode(),
    }
    for algorithm, hashed in (("HS256", "sha256"), ("HS384", "sha384"), ("HS512", "sha512")):
        for form, secret in forms.items():
            text = f"{encoded(header(provider, alg=algorithm))}.{encoded(provider.claims('root'))}"
            yield f"{algorithm} with {form}", f"{text}.{encoded(hmac.digest(secret, text.encode(), hashed))}"


def of_other_keys(provider: IdentityProvider) -> Iterator[tuple[str, str]]:
    """Signed rightly, by a key that is not the provider's."""
    for algorithm in ALGORITHMS:
        key = _key_for(algorithm)
        for id in (next(iter(provider.keys)), "another"):
            yield (
                f"{algorithm} by another key as {id}",
                jwt.encode(provider.claims("root"), key, algorithm, {"kid": id, "typ": "at+jwt"}),
            )
    key = ed25519.Ed25519PrivateKey.generate()
    for name, more in {
        "jwk": {"jwk": jwk("mine", key)},
        "jku": {"jku": "https://evil.example/keys"},
        "jku of the issuer's host": {"jku": f"{provider.issuer}@evil.example/keys"},
        "x5u": {"x5u": "https://evil.example/cert"},
        "x5c": {"x5c": ["AAAA"]},
        "all of them": {"jwk": jwk("mine", key), "jku": "https://evil.example", "x5u": "https://evil.example"},
    }.items():
        heads = {"kid": "mine", "typ": "at+jwt", **more}
        yield f"a key brought along by {name}", jwt.encode(provider.claims("root"), key, "EdDSA", heads)


def _key_for(algorithm: str) -> Any:
    if algorithm.startswith("ES"):
        return ec.generate_private_key({"256": ec.SECP256R1, "384": ec.SECP384R1, "512": ec.SECP521R1}[algorithm[2:]]())
    return ed25519.Ed25519PrivateKey.generate() if algorithm == "EdDSA" else _RSA


_RSA = rsa.generate_private_key(65537, 2048)


def of_key_ids(provider: IdentityProvider) -> Iterator[tuple[str, str]]:
    for id in (
        *("../keys", "/etc/passwd", "/dev/null", "file:///dev/null", "https://evil.example/key", "first\x00", "FIRST"),
        *("first ", " first", "first' OR '1'='1", "'; DROP TABLE event; --", "first;id", "$(id)", "`id`", "{{7*7}}"),
        *("", "x" * 300, "first\n", "%66irst", "first/../first", 0, 1, True, None, [], ["first"], {"kid": "first"}),
    ):
        yield (
            f"kid {str(id)[:40]!r} of {type(id).__name__}",
            signed(provider, header(provider, kid=id), provider.claims("root")),
        )
    head = header(provider)
    del head["kid"]
    yield "no kid", signed(provider, head, provider.claims("root"))


def of_headers(provider: IdentityProvider) -> Iterator[tuple[str, str]]:
    """Truly signed by the provider, with a header that must not count."""
    more: dict[str, Any] = {
        "crit": ["exp"],
        "crit ": [],
        "b64": False,
        "zip": "DEF",
        "cty": "JWT",
        "enc": "A256GCM",
        "jwk": provider.jwks()["keys"][0],
        "jku": f"{provider.issuer}/keys",
        "x5u": f"{provider.issuer}/keys",
        "x5c": [],
        "p2c": 10**9,
        "epk": {},
        "iss": provider.issuer,
        "nonce": "1",
        "unknown": 1,
    }
    for name, value in more.items():
        yield (
            f"header {name.strip()} {value!r:.20}",
            signed(provider, header(provider, **{name.strip(): value}), provider.claims("root")),
        )
    for type_ in (
        "JWT",
        "",
        "jwt",
        "at+jwt;",
        "dpop+jwt",
        "logout+jwt",
        "secevent+jwt",
        "application/",
        1,
        None,
        ["at+jwt"],
    ):
        yield f"typ {type_!r}", signed(provider, header(provider, typ=type_), provider.claims("root"))
    for algorithm in (
        "RS256",
        "ES256",
        "PS256",
        "eddsa",
        "EDDSA",
        "Ed25519",
        "Ed448",
        "ES256K",
        "HS256",
        "dir",
        "A128KW",
    ):
        yield f"EdDSA that says {algorithm}", signed(provider, header(provider, alg=algorithm), provider.claims("root"))


def of_claims(provider: IdentityProvider) -> Iterator[tuple[str, str]]:
    """Truly signed by the provider, about something else."""
    now, issuer = int(time.time()), provider.issuer
    wrong: dict[str, list[Any]] = {
        "exp": [now - 31, now - 3600, 0, -1, 1.5, None, "never", str(now + 600), True, [now + 600], {}, now + 10**9],
        "nbf": [now + 90, now + 10**6, "later", str(now), True, [], {}],
        "iat": [now + 90, now + 10**6, None, "before", str(now), True, [], {}],
        "aud": [
            *("", "other", AUDIENCE + "/", AUDIENCE.upper(), AUDIENCE + "\x00", f"{AUDIENCE} other", CLIENT, None, 0),
            *([], ["other"], [AUDIENCE, "other"], ["other", AUDIENCE], [AUDIENCE, AUDIENCE], [[AUDIENCE]], {}),
            *({AUDIENCE: 1}, "*", "urn:assent", True),
        ],
        "iss": [
            *(
                "",
                "https://evil.example",
                issuer + "/",
                issuer + "#",
                issuer.upper(),
                issuer + ".evil.example",
                None,
                0,
            ),
            *(issuer.replace("http", "https"), [issuer], {}, "urn:assent:development", f"{issuer}@evil.example", True),
        ],
        "sub": [
            None,
            "",
            0,
            ["nina"],
            {},
            "system",
            "key.k1",
            "key.",
            "a b",
            "nina\n",
            "nina\x00",
            "../root",
            "x" * 200,
        ],
        "scope": [0, {}, [1], [["backdate"]], True],
        "cnf": [{"jkt": "x"}, {"x5t#S256": "x"}, {}],
    }
    for name, values in wrong.items():
        for value in values:
            if name in ("iss", "aud", "sub", "exp", "iat") or value is not None:
                yield (
                    f"{name} {value!r:.60}",
                    signed(provider, header(provider), provider.claims("root", **{name: value})),
                )


def of_texts(provider: IdentityProvider) -> Iterator[tuple[str, str]]:
    """The same bytes, or nearly, written differently."""
    good = provider.token("nina")
    head, body, signature = good.split(".")
    claims = json.dumps(provider.claims("nina"))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet[alphabet.index(signature[-1]) ^ 1]
    yield from {
        "spare bits of the signature": good[:-1] + last,
        "padding": good + "==",
        "a newline at the end": good + "\n",
        "a space within": f"{head}. {body}.{signature}",
        "the other alphabet": f"{head}.{body}.{'+' + signature[1:]}",
        "two parts": f"{head}.{body}",
        "four parts": f"{good}.AA",
        "five parts": f"{head}.AA.AA.{body}.{signature}",
        "no parts": "..",
        "one part": head,
        "a cut signature": good[:-3],
        "an empty signature": f"{head}.{body}.",
        "a longer signature": good + "AAAA",
        "half a token": good[: len(good) // 2],
        "two tokens": f"{good}{good}",
        "two tokens with a comma": f"{good},{good}",
        "huge": good + "A" * 20_000,
        "a bomb for a header": f"{encoded(b'[' * 3000)}.{body}.{signature}",
        "a bomb for a payload": f"{head}.{encoded(b'[' * 3000)}.{signature}",
        "JWS as JSON": json.dumps({"payload": body, "protected": head, "signature": signature}),
        "a nested JWE": f"{encoded({'alg': 'dir', 'enc': 'A256GCM', 'cty': 'JWT'})}..AAAA.AAAA.AAAA",
        "a JWT in a JWT": signed(provider, header(provider), good.encode()),
        "sub twice": signed(provider, header(provider), (claims[:-1] + ', "sub": "root"}').encode()),
        "exp twice": signed(provider, header(provider), (claims[:-1] + ', "exp": 9999999999}').encode()),
        "alg twice": signed(provider, b'{"alg":"EdDSA","kid":"first","typ":"at+jwt","alg":"none"}', claims.encode()),
        "a name twice deep within": signed(
            provider, header(provider), (claims[:-1] + ', "a": {"b":1,"b":2}}').encode()
        ),
        "NaN": signed(provider, header(provider), provider.claims("nina", exp=float("nan"))),
        "Infinity": signed(provider, header(provider), provider.claims("nina", exp=float("inf"))),
        "a payload that is a list": signed(provider, header(provider), b"[]"),
        "a payload that is a text": signed(provider, header(provider), b'"nina"'),
        "a payload that is nothing": signed(provider, header(provider), b"null"),
        "a payload in UTF-16": signed(provider, header(provider), claims.encode("utf-16")),
        "a payload with a byte order mark": signed(provider, header(provider), b"\xef\xbb\xbf" + claims.encode()),
        "a payload that is not UTF-8": signed(provider, header(provider), b'{"sub": "\xff"}'),
        "a number without end": signed(provider, header(provider), b'{"exp": ' + b"9" * 5000 + b"}"),
        "another payload": f"{head}.{encoded(provider.claims('root'))}.{signature}",
        "another header": f"{encoded(header(provider, typ='AT+JWT'))}.{body}.{signature}",
    }.items()
    for place in range(0, len(good), 11):
        if good[place] != ".":
            yield (
                f"another character at {place}",
                good[:place] + ("A" if good[place] != "A" else "B") + good[place + 1 :],
            )


def attacks(provider: IdentityProvider) -> Attacks:
    """Every attack on a bearer token by its name."""
    found: Attacks = {}
    made = (of_no_algorithm, of_confused_keys, of_other_keys, of_key_ids, of_headers, of_claims, of_texts)
    for each in made:
        for name, token in each(provider):
            assert f"{each.__name__}: {name}" not in found, name
            found[f"{each.__name__}: {name}"] = token
    return found


# Bearer tokens


async def test_no_attack_token_is_taken() -> None:
    with IdentityProvider() as provider:
        issuer = OpenIdIssuer(Provider(KnownIssuer(provider.issuer, AUDIENCE, algorithms=ALGORITHMS), True))
        identities = Identities([issuer])
        tokens = attacks(provider)
        taken = [name for name, token in tokens.items() if await _speaks(identities, token)]
        assert taken == []
        assert len(set(tokens.values())) >= TOKENS_MIN
        assert await _speaks(identities, provider.token("nina")), (
            "a good token is taken, so the refusals mean something"
        )
        assert await _speaks(identities, signed(provider, header(provider), provider.claims("nina"))), (
            "and one made here"
        )


async def _speaks(identities: Identities, token: str) -> bool:
    try:
        await identities.of(b"Bearer " + token.encode())
    except Unauthenticated:
        return False
    except ProviderAway:
        pytest.fail("the provider is there, so every token is judged")
    return True


# Cookies

Tries = Iterator[tuple[str, httpx.Response]]
"""What was tried, and what the service answered to it or, if it let somebody in, to the next question."""


def of_cookies(service: Service, provider: IdentityProvider) -> Tries:
    """At an address for everybody who is signed in, with a cookie that is nobody's."""
    browser = Browser(service)
    browser.log_in(provider, "nina")
    (good,) = browser.client.cookies.values()
    csrf = browser.csrf
    with psycopg.connect(service.settings.database_url) as conn:
        ((digest,),) = conn.execute("SELECT id FROM door.session ORDER BY created DESC LIMIT 1").fetchall()

    def shown(text: str, **headers: str) -> httpx.Response:
        return service.client.get("/session", headers={"cookie": text.encode("latin-1"), **headers})

    assert shown(f"assent-development={good}").status_code == 200, "the good one is taken: the refusals mean something"
    for place in range(0, len(good), 2):
        other = "A" if good[place] != "A" else "B"
        yield f"another character at {place}", shown(f"assent-development={good[:place]}{other}{good[place + 1 :]}")
    for name, value in {
        "nothing": "",
        "cut": good[:-1],
        "longer": good + "A",
        "twice as long": good * 2,
        "in capitals": good.upper(),
        "quoted": f'"{good}"',
        "its hash in hexadecimal": digest.hex(),
        "its hash in base64": encoded(digest),
        "as Postgres writes it": f"\\\\x{digest.hex()}",
        "its token against other pages": csrf,
        "SQL": "' OR true --",
        "more SQL": "x'); DELETE FROM door.session; --",
        "a person": "nina",
        "null": "null",
        "a star": "*",
        "a token of the provider": provider.token("nina"),
        "a token of development": service.token("nina"),
        "huge": good + "A" * 7000,
        "too huge": "A" * 9000,
        "escaped": f"%{ord(good[0]):02x}{good[1:]}",
    }.items():
        yield name, shown(f"assent-development={value}")
    for name, text in {
        "the name of production": f"__Host-assent={good}",
        "another name": f"assent={good}",
        "another case": f"Assent-Development={good}",
        "the cookie of a login": f"assent-development-login={good}",
        "two of them": f"assent-development={good}; assent-development=evil",
        "two of them the other way round": f"assent-development=evil; assent-development={good}",
        "the same twice": f"assent-development={good}; assent-development={good}",
        "with a comma": f"x=1, assent-development={good}",
    }.items():
        yield name, shown(text)
    for authorization in ("Bearer", "Basic", f"Bearer {good}", f"Cookie {good}", good, "Bearer null"):
        yield f"beside {authorization[:8]!r}", shown(f"assent-development={good}", authorization=authorization)


def of_ended_sessions(service: Service, provider: IdentityProvider, other: Service) -> Tries:
    """Cookies that once let somebody in, or do so elsewhere."""
    for end, how in {
        "logged out": "",
        "after the last hour": "UPDATE door.session SET expires = now()",
        "unused": "UPDATE door.session SET last_used = now() - interval '31 minutes'",
        "removed": "DELETE FROM door.session",
    }.items():
        browser = Browser(service)
        browser.log_in(provider, "nina")
        kept = dict(browser.client.cookies)
        if how:
            with psycopg.connect(service.settings.database_url) as conn:
                conn.execute(how.encode())
        else:
            assert browser.post("/logout", f"csrf={browser.csrf}").status_code == 200
        browser.client.cookies.clear()
        browser.client.cookies.update(kept)
        yield end, browser.get("/session")
    elsewhere = Browser(other)
    assert elsewhere.post("/login", "person=root").status_code == 303
    cookies = "; ".join(f"{name}={value}" for name, value in elsewhere.client.cookies.items())
    assert other.client.get("/session", headers={"cookie": cookies}).status_code == 200
    yield "of another installation", service.client.get("/session", headers={"cookie": cookies})
    yield "a token of another installation", service.client.get("/session", headers=other.headers("root"))


# Ways back from a login


def of_logins(service: Service, provider: IdentityProvider) -> Tries:
    """Every way back that is not the end of what this browser began; then whether it is let in."""
    provider.signed_in = "root"
    for name, changed in {
        "no state": {"state": None},
        "no code": {"code": None},
        "an empty code": {"code": ""},
        "another state": {"state": "A" * 43},
        "an empty state": {"state": ""},
        "a state with SQL": {"state": "' OR true --"},
        "another code": {"code": "A" * 22},
        "an error": {"code": None, "error": "access_denied"},
        "another provider": {"iss": "https://evil.example"},
        "nearly that provider": {"iss": provider.issuer + "/"},
        "a code of another login, which PKCE binds": {"code": way_back(Browser(service), provider)["code"]},
        "a state of another browser": {"state": way_back(Browser(service), provider)["state"]},
        "all of another browser": way_back(Browser(service), provider),
    }.items():
        browser = Browser(service)
        yield name, came_back(browser, {**way_back(browser, provider), **changed})
    browser = Browser(service)
    back = way_back(browser, provider)
    browser.client.cookies.clear()
    yield "without the cookie", came_back(browser, back)
    browser.client.cookies.set("assent-development-login", "A" * 43)
    yield "with a cookie of one's own making", came_back(browser, back)
    browser = Browser(service)
    back = way_back(browser, provider)
    with psycopg.connect(service.settings.database_url) as conn:
        conn.execute("UPDATE door.login SET expires = now()")
    yield "after ten minutes", came_back(browser, back)
    yield from replayed(service, provider)


def replayed(service: Service, provider: IdentityProvider) -> Tries:
    """What was good once."""
    browser = Browser(service)
    back = way_back(browser, provider)
    kept = dict(browser.client.cookies)
    assert came_back(browser, back).status_code == 200, "the way back itself is good, so the refusals mean something"
    browser.client.cookies.clear()
    browser.client.cookies.update(kept)
    yield "state and code again", came_back(browser, back)
    again = Browser(service)
    yield (
        "the code again, with a state of its own",
        came_back(again, {**way_back(again, provider), "code": back["code"]}),
    )


def way_back(browser: Browser, provider: IdentityProvider) -> dict[str, Any]:
    """What the provider sends a browser back with, which began a login here."""
    away = browser.get(f"/login?with={provider.issuer}").headers["location"]
    query = parse_qs(urlsplit(httpx.get(away).headers["location"]).query)
    return {name: value for name, (value,) in query.items()}


def came_back(browser: Browser, back: dict[str, Any]) -> httpx.Response:
    browser.client.get("/login/callback", params={name: value for name, value in back.items() if value is not None})
    return browser.get("/session")


def of_id_tokens(service: Service, provider: IdentityProvider) -> Tries:
    """A provider that answers with an ID token for somebody, something or some time else."""
    now = int(time.time())
    for claims in (
        *({"nonce": None}, {"nonce": ""}, {"nonce": "A" * 43}, {"nonce": []}, {"nonce": True}),
        *({"aud": AUDIENCE}, {"aud": [CLIENT, AUDIENCE]}, {"aud": None}, {"azp": "another"}, {"azp": ""}),
        *({"iss": "https://evil.example"}, {"exp": now - 60}, {"iat": now + 90}, {"nbf": now + 90}),
        *({"sub": "key.k1"}, {"sub": "system"}, {"sub": ""}, {"sub": None}, {"sub": ["root"]}),
    ):
        provider.id_token = claims
        browser = Browser(service)
        yield f"ID token with {claims}", came_back(browser, way_back(browser, provider))
    provider.id_token = {}
    for type_ in ("at+jwt", "logout+jwt", "application/at+jwt"):
        provider.id_token_type = type_
        browser = Browser(service)
        yield f"ID token of type {type_}", came_back(browser, way_back(browser, provider))
    provider.id_token_type = "JWT"
    as_access = provider.sign(provider.claims("root", aud=CLIENT), typ="JWT")
    yield (
        "an ID token as a bearer token",
        service.client.get("/session", headers={"authorization": f"Bearer {as_access}"}),
    )


# Keys of machines


def of_keys(service: Service, other: Service) -> Tries:
    """Where a read is asked for that a key in force with the scope `read` is answered."""
    body = {"organization": "openai", "name": "A machine", "scopes": ["read"]}

    def issued(**more: Any) -> tuple[str, str]:
        answer = service.done("root", "/keys", {**body, **more})
        service.read("root", f"/keys/{answer['id']}", answer["position"])
        return answer["id"], answer["secret"]

    def shown(token: str) -> httpx.Response:
        return service.client.get("/api/v1/releases", headers={"authorization": f"Bearer {token}"})

    id, good = issued()
    assert shown(good).status_code == 200, "a good key is taken, so the refusals mean something"
    _, narrow = issued(scopes=["access"])
    yield "a key for something else", shown(narrow)
    yield "another's secret", shown(f"assent_{id}_{narrow.rpartition('_')[2]}")
    for place in range(len(good) - 43, len(good), 4):
        other_one = "A" if good[place] != "A" else "B"
        yield f"another character at {place}", shown(good[:place] + other_one + good[place + 1 :])
    for token in (good[:-1], good + "A", good.upper(), f"assent_{id}_", f"assent__{good}", f"assent_{id}", "assent_"):
        yield f"{len(token)} characters: {token[:9]}", shown(token)
    digest = sha256(good.rpartition("_")[2].encode()).hexdigest()
    yield "the hash that the log holds", shown(f"assent_{id}_{digest}")
    foreign = other.done("root", "/keys", body)
    yield "of another installation", shown(foreign["secret"])
    revoked, token = issued()
    service.done("root", f"/keys/{revoked}/revocation", {"reason": "It leaked."})
    yield "revoked", shown(token)
    turned, token = issued()
    service.done("root", f"/keys/{turned}/rotation", {"overlap_hours": 0})
    yield "rotated", shown(token)


def test_no_attack_by_cookie_login_or_key_lets_anybody_in(
    guarded: Service, provider: IdentityProvider, service: Service
) -> None:
    tries = {
        **{f"cookie: {name}": answer for name, answer in of_cookies(guarded, provider)},
        **{f"session: {name}": answer for name, answer in of_ended_sessions(guarded, provider, service)},
        **{f"login: {name}": answer for name, answer in of_logins(guarded, provider)},
        **{f"login: {name}": answer for name, answer in of_id_tokens(guarded, provider)},
        **{f"key: {name}": answer for name, answer in of_keys(guarded, service)},
    }
    let_in = [name for name, answer in tries.items() if answer.status_code not in (401, 403)]
    assert let_in == []
    assert len(tries) >= SESSIONS_MIN


async def test_no_key_of_development_counts_in_production(tmp_path: Path) -> None:
    issuer = DevelopmentIssuer(Settings(data=tmp_path))
    production = Identities(issuers_of(Settings(data=tmp_path, mode="production")).all())
    for person in ("root", "nina"):
        assert not await _speaks(production, issuer.issue(person))
    with IdentityProvider() as provider:
        known = OpenIdIssuer(Provider(KnownIssuer(provider.issuer, AUDIENCE), True))
        assert not await _speaks(Identities([known]), issuer.issue("root"))
