"""What does a small but real identity provider answer? OpenID Connect over HTTP: discovery, keys, authorize, token."""

import base64
import hashlib
import json
import secrets
import ssl
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

AUDIENCE = "https://assent.test/api"
CLIENT = "assent-browser"
SECRET = "a client's secret: +%&"

Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
_MAKING = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


def jwk(id: str, key: Any, **more: Any) -> dict[str, Any]:
    """The public half as providers publish it."""
    kinds = {rsa.RSAPublicKey: "RS256", ec.EllipticCurvePublicKey: "ES256", ed25519.Ed25519PublicKey: "EdDSA"}
    public = key.public_key()
    name = next(name for kind, name in kinds.items() if isinstance(public, kind))
    found = jwt.get_algorithm_by_name(name).to_jwk(public, as_dict=True)
    return {**found, "kid": id, "use": "sig", **more}


@dataclass
class IdentityProvider:
    """One provider at an address of its own. Tests turn its keys, and break it, by its fields.

    `signed_in`: who has a session there, so that `/authorize` sends them back at once. `keys`: private, by id.
    """

    keys: dict[str, Private] = field(default_factory=lambda: {"first": _MAKING["EdDSA"]()})
    signed_in: str = "nina"
    documents: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    id_token: dict[str, Any] = field(default_factory=dict)
    id_token_type: str = "JWT"
    is_away: bool = False
    tls: ssl.SSLContext | None = None

    def __enter__(self) -> "IdentityProvider":
        provider = self

        class Handler(_Answers):
            here = provider

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.issuer = f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "code_challenge_methods_supported": ["S256"],
        }

    def jwks(self) -> dict[str, Any]:
        return {"keys": [jwk(id, key) for id, key in self.keys.items()]}

    def turn(self, id: str, algorithm: str = "EdDSA") -> None:
        """Sign with a new key from now on; the others are withdrawn."""
        self.keys = {id: _MAKING[algorithm]()}

    def claims(self, person: str, **more: Any) -> dict[str, Any]:
        """Those of a good access token; None leaves one out."""
        now = int(time.time())
        usual = {"iss": self.issuer, "aud": AUDIENCE, "sub": person, "iat": now, "nbf": now, "exp": now + 600}
        return {name: value for name, value in {**usual, **more}.items() if value is not None}

    def sign(self, claims: dict[str, Any], algorithm: str = "EdDSA", **header: Any) -> str:
        id, key = next(iter(self.keys.items()))
        heads = {"kid": id, "typ": "at+jwt", **header}
        return jwt.encode(claims, key, algorithm, {name: value for name, value in heads.items() if value is not None})

    def token(self, person: str, **claims: Any) -> str:
        """A good access token."""
        return self.sign(self.claims(person, **claims))


class _Answers(BaseHTTPRequestHandler):
    here: IdentityProvider
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        here, (path, query) = self.here, (urlsplit(self.path).path, parse_qs(urlsplit(self.path).query))
        here.asked.append(path)
        if here.is_away:
            self._answer(503, {})
        elif path in here.documents:
            self._answer(200, here.documents[path])
        elif path == "/.well-known/openid-configuration":
            self._answer(200, here.discovery())
        elif path == "/keys":
            self._answer(200, here.jwks())
        elif path == "/authorize":
            self._authorize({name: values[0] for name, values in query.items()})
        else:
            self._answer(404, {})

    def _authorize(self, asked: dict[str, str]) -> None:
        assert asked["response_type"] == "code" and asked["client_id"] == CLIENT, asked
        assert "openid" in asked["scope"].split() and asked["code_challenge_method"] == "S256", asked
        code = secrets.token_urlsafe(16)
        self.here.codes[code] = asked
        back = urlencode({"code": code, "state": asked["state"], "iss": self.here.issuer})
        self._answer(302, {}, location=f"{asked['redirect_uri']}?{back}")

    def do_POST(self) -> None:
        form = {n: v[0] for n, v in parse_qs(self.rfile.read(int(self.headers["content-length"])).decode()).items()}
        self.here.asked.append(self.path)
        half = urlencode({"": CLIENT})[1:] + ":" + urlencode({"": SECRET})[1:]
        asked = self.here.codes.pop(form.get("code", ""), None)
        if self.here.is_away:
            self._answer(503, {})
        elif self.headers["authorization"] != f"Basic {base64.b64encode(half.encode()).decode()}":
            self._answer(401, {"error": "invalid_client"})
        elif asked is None or form["redirect_uri"] != asked["redirect_uri"] or not _proves(form, asked):
            self._answer(400, {"error": "invalid_grant"})
        else:
            person = self.here.signed_in
            claims = self.here.claims(person, aud=CLIENT, nonce=asked["nonce"])
            said = {name: value for name, value in {**claims, **self.here.id_token}.items() if value is not None}
            id_token = self.here.sign(said, typ=self.here.id_token_type)
            self._answer(200, {"access_token": self.here.token(person), "token_type": "Bearer", "id_token": id_token})

    def _answer(self, status: int, document: Any, **headers: str) -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def _proves(form: dict[str, str], asked: dict[str, str]) -> bool:
    digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]
