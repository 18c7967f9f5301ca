"""Is any forged, replayed or misdirected token or session taken? The table says how each was made."""

import base64
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.http.identity import Identities
from services.http.oidc import OpenIdIssuer
from services.http.problems import Unauthenticated
from services.http.providers import Provider, ProviderAway
from services.known_issuers import ALGORITHMS, KnownIssuer
from tests.services.http.identity_provider import AUDIENCE, CLIENT, IdentityProvider, jwk

TOKENS_MIN = 200
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
