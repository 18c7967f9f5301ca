"""How does somebody in front of a browser log in and out? At the provider, by a code that only we can redeem."""

import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from contextlib import AbstractContextManager, nullcontext, suppress
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlencode

import msgspec
from fastapi import APIRouter, Request, Response
from jinja2 import Environment, PackageLoader, select_autoescape

from services.demo import PERSONAS
from services.http.answers import source_of
from services.http.browsers import Browsers, RawHeaders, cookie, csrf_token, is_direct
from services.http.identity import DevelopmentIssuer, Identities, Identity
from services.http.issuers import Issuers
from services.http.oidc import OpenIdIssuer
from services.http.problems import BadParameter, BodyTooLarge, LoginRefused, NotAForm, Unauthenticated
from services.http.providers import UnfitAnswer
from services.http.rates import Rates
from services.http.reads import json_response
from services.http.sessions import LOGIN_SECONDS_MAX, Login, Sessions
from services.http.sources import household_of

FORM_BYTES_MAX = 4096
HOME = "/docs"
"""Where one goes who wanted nowhere in particular."""

_LOCAL = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]{0,1023}")
"""A path of ours, with its query; a browser cannot take it for another host."""

_pages = Environment(loader=PackageLoader("services.http", "."), autoescape=select_autoescape(["html"]))


class Visit(msgspec.Struct):
    """Who is signed in; `csrf`: what a page shows with everything that it changes, null with a bearer token."""

    person: str
    expires: float
    csrf: str | None


def router(issuers: Issuers, sessions: Sessions, identities: Identities, rates: Rates) -> APIRouter:
    """The addresses of logging in and out."""
    here = APIRouter(tags=["login"])
    door = Entrance(issuers, sessions, rates)

    @here.get("/login", summary="Log in: a page where there is a choice, else straight to the identity provider")
    async def login(request: Request) -> Response:
        return await door.login(request)

    @here.post("/login", include_in_schema=False)
    async def become(request: Request) -> Response:
        return await door.become(request)

    @here.get("/login/callback", summary="Where the identity provider sends the browser back to")
    async def callback(request: Request) -> Response:
        return await door.callback(request)

    @here.post("/logout", include_in_schema=False)
    async def logout(request: Request) -> Response:
        return await door.logout(request)

    @here.get("/session", summary="Who is signed in, and what commands by cookie must show")
    async def session(request: Request) -> Response:
        headers = headers_of(request)
        identity = await identities.of_read(headers, source_of(request.scope))
        if rates.reads is not None:
            rates.reads.take(identity.person)
        id = None if b"authorization" in headers else cookie(headers, sessions.browsers.session_cookie)
        return json_response(Visit(identity.person, identity.expires, csrf_token(id) if id else None))

    return here


class Entrance:
    """Lets people in by way of an issuer, and out."""

    def __init__(self, issuers: Issuers, sessions: Sessions, rates: Rates) -> None:
        self._sessions = sessions
        self._rates = rates
        self._browsers: Browsers = sessions.browsers
        self._development: DevelopmentIssuer | None = issuers.development
        self._providers: dict[str, OpenIdIssuer] = {
            each.provider.known.issuer: each for each in issuers.providers if each.provider.known.has_login
        }

    async def login(self, request: Request) -> Response:
        """Raises BadParameter, ProviderAway, TooManyRequests."""
        leads_to = _local(request.query_params.get("to", HOME))
        chosen = request.query_params.get("with")
        personas = PERSONAS if self._vouches_for(request) else {}
        if chosen is None and len(self._providers) == 1 and not personas:
            (chosen,) = self._providers
        if chosen is None:
            choices = [
                (each.provider.known.shown_name, urlencode({"with": issuer, "to": leads_to}))
                for issuer, each in self._providers.items()
            ]
            return _page(personas=personas, choices=choices, leads_to=leads_to)
        if chosen not in self._providers:
            raise BadParameter("No such identity provider is known.", "with=<one that /login lists>")
        return await self._send_away(request, self._providers[chosen], leads_to)

    def _vouches_for(self, request: Request) -> bool:
        """Whether we ourselves say who somebody is: in development, to whoever sits at this machine."""
        client = request.client.host if request.client else None
        return self._development is not None and is_direct(headers_of(request), client)

    async def _send_away(self, request: Request, issuer: OpenIdIssuer, leads_to: str) -> Response:
        if self._rates.logins is not None:
            self._rates.logins.take(household_of(source_of(request.scope)))
        known, said = issuer.provider.known, await issuer.provider.said()
        state, browser = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        back = self._back(request)
        await self._sessions.begin_login(state, browser, Login(known.issuer, leads_to))
        asked = {
            "response_type": "code",
            "client_id": known.client_id,
            "redirect_uri": back,
            "scope": "openid",
            "state": state,
            "nonce": _derived(browser, state, "nonce"),
            "code_challenge": _challenge(_derived(browser, state, "verifier")),
            "code_challenge_method": "S256",
        }
        away = said.authorization + ("&" if "?" in said.authorization else "?") + urlencode(asked)
        return _go(away, self._browsers.set_cookie(self._browsers.login_cookie, browser, LOGIN_SECONDS_MAX))

    async def callback(self, request: Request) -> Response:
        """Raises LoginRefused, ProviderAway, TooManyRequests."""
        with self._trying(request):
            return await self._called_back(request)

    def _trying(self, request: Request) -> AbstractContextManager[None]:
        failures = self._rates.failed_sign_ins
        return nullcontext() if failures is None else failures.of_failures(household_of(source_of(request.scope)))

    async def _called_back(self, request: Request) -> Response:
        query, headers = request.query_params, headers_of(request)
        state, code = query.get("state", ""), query.get("code", "")
        browser = cookie(headers, self._browsers.login_cookie)
        login = await self._sessions.finish_login(state, browser) if browser and state else None
        issuer = self._providers.get(login.issuer) if login else None
        if browser is None or login is None or issuer is None:
            raise LoginRefused("This login was not begun in this browser, was finished already, or took too long.")
        if query.get("iss", login.issuer) != login.issuer:
            raise LoginRefused("Another identity provider answered than the one that was asked.")
        if not code:
            raise LoginRefused("The identity provider sent no code.")
        identity = await self._redeemed(request, issuer, code, browser, state)
        forget = self._browsers.set_cookie(self._browsers.login_cookie, "", 0)
        return await self._let_in(headers, identity, login.leads_to, forget)

    async def _redeemed(self, request: Request, issuer: OpenIdIssuer, code: str, browser: str, state: str) -> Identity:
        """Whom the code speaks for. Raises LoginRefused, ProviderAway."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._back(request),
            "code_verifier": _derived(browser, state, "verifier"),
        }
        try:
            token = (await issuer.provider.redeem(form)).get("id_token")
            if not isinstance(token, str):
                raise LoginRefused("The identity provider says nobody's name.")
            return await issuer.verify_login(token, _derived(browser, state, "nonce"))
        except (UnfitAnswer, Unauthenticated) as error:
            raise LoginRefused("The identity provider does not vouch for this login.") from error

    def _back(self, request: Request) -> str:
        return self._browsers.origin(headers_of(request)) + "/login/callback"

    async def become(self, request: Request) -> Response:
        """Be whoever one likes, in development. Raises CrossSite, LoginRefused, NotAForm."""
        headers = headers_of(request)
        if self._development is None or not self._vouches_for(request):
            raise LoginRefused("Here only an identity provider says who somebody is.")
        self._browsers.must_be_ours(headers)
        form = await form_of(request)
        try:
            token = self._development.issue(form.get("person", ""))
        except ValueError as error:
            raise LoginRefused(f"Sorry, {error}.") from error
        identity = await self._development.verify(token)
        return await self._let_in(headers, identity, _local(form.get("to", HOME)))

    async def _let_in(self, headers: RawHeaders, identity: Identity, leads_to: str, *cookies: str) -> Response:
        id = await self._sessions.begin(identity, headers)
        own = self._browsers.set_cookie(self._browsers.session_cookie, id, self._sessions.seconds_max)
        return _go(leads_to, own, *cookies)

    async def logout(self, request: Request) -> Response:
        """Raises CrossSite, NotAForm, TooManyRequests."""
        headers = headers_of(request)
        session = None
        with suppress(Unauthenticated), self._trying(request):
            session = await self._sessions.visitor(headers)
            if session is None:
                raise Unauthenticated
        if session is not None:
            shown = request.headers.get("x-csrf-token") or (await form_of(request)).get("csrf")
            self._browsers.must_be_meant(headers, session.id, shown)
            await self._sessions.end(session.id)
        response = _page(is_over=True)
        response.headers["set-cookie"] = self._browsers.set_cookie(self._browsers.session_cookie, "", 0)
        return response


def headers_of(request: Request) -> dict[bytes, bytes]:
    return dict(request.scope["headers"])


async def form_of(request: Request) -> dict[str, str]:
    """What a form says, the last of each name. Raises NotAForm, BodyTooLarge."""
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared != "application/x-www-form-urlencoded":
        raise NotAForm
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES_MAX:
            raise BodyTooLarge(f"A form has at most {FORM_BYTES_MAX} bytes.", f"at most {FORM_BYTES_MAX} bytes")
    return {name: values[-1] for name, values in parse_qs(body.decode("latin-1"), encoding="utf-8").items()}


def _local(path: str) -> str:
    """Raises BadParameter for what would lead elsewhere."""
    if _LOCAL.fullmatch(path) is None:
        raise BadParameter("`to` is a path of this service.", "to=/docs")
    return path


def _derived(browser: str, state: str, what: str) -> str:
    """A secret of one login, which only that browser's cookie leads to: nobody needs to keep it."""
    return _in_base64(hmac.digest(browser.encode(), f"{what} {state}".encode(), "sha256"))


def _challenge(verifier: str) -> str:
    return _in_base64(sha256(verifier.encode()).digest())


def _in_base64(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def _go(where: str, *cookies: str) -> Response:
    response = Response(status_code=303, headers={"location": where})
    for each in cookies:
        response.headers.append("set-cookie", each)
    return response


def _page(**shown: Any) -> Response:
    return Response(_pages.get_template("login.html").render(**shown), media_type="text/html; charset=utf-8")
