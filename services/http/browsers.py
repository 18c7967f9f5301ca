"""How does a browser reach us, and which of its requests does the person in front of it mean?

A browser sends its cookies with whatever any page makes it send. So a request that changes something must come from a
page of ours, by the browser's account, and show a token that only such a page can read.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from services.http.problems import BadParameter, CrossSite
from services.known_issuers import is_loopback
from services.settings import Settings

RawHeaders = Mapping[bytes, bytes]
"""By lower-case name."""

CSRF_HEADER = b"x-csrf-token"
COOKIE_BYTES_MAX = 8192

_PASSED_ON = (b"forwarded", b"via", b"x-real-ip", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto")


@dataclass(frozen=True, slots=True)
class Browsers:
    """What of it depends on the settings. `url`: the address that browsers know us by; empty: this machine's own."""

    url: str
    is_secure: bool

    @property
    def session_cookie(self) -> str:
        """No other host, no other path, no plain http can set a cookie of the longer name."""
        return "__Host-assent" if self.is_secure else "assent-development"

    @property
    def login_cookie(self) -> str:
        return f"{self.session_cookie}-login"

    def origin(self, headers: RawHeaders) -> str:
        """Ours, as a browser would say it. Raises BadParameter where a browser comes by another name."""
        if self.url:
            return self.url
        host = headers.get(b"host", b"").decode("latin-1")
        if not is_own_name(host):
            raise BadParameter("Here one logs in on this machine alone.", "a loopback address, or ASSENT_URL")
        return f"http://{host}"

    def must_be_meant(self, headers: RawHeaders, session: str, shown: str | None) -> None:
        """Whether a page of ours sent this in that session; `shown` is the token it has. Raises CrossSite."""
        self.must_be_ours(headers)
        if shown is None or not hmac.compare_digest(shown.encode(), csrf_token(session).encode()):
            raise CrossSite("It does not show the token of this session, which GET /session tells.", "X-CSRF-Token")

    def must_be_ours(self, headers: RawHeaders) -> None:
        """Whether a page of ours sent this, as the browser says. Raises CrossSite."""
        origin, site = headers.get(b"origin"), headers.get(b"sec-fetch-site")
        if origin is None and site is None:
            raise CrossSite("The browser does not say from which page this comes.", "Origin")
        if site not in (None, b"same-origin") or origin not in (None, self.origin(headers).encode()):
            raise CrossSite("It comes from another page than one of this service.", "Origin")

    def set_cookie(self, name: str, value: str, seconds: int) -> str:
        """The header that gives the browser a cookie, or with 0 seconds takes it away."""
        secure = "; Secure" if self.is_secure else ""
        return f"{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}"


def browsers_of(settings: Settings) -> Browsers:
    return Browsers(settings.url, settings.mode != "development" or settings.url.startswith("https://"))


def csrf_token(session: str) -> str:
    """What a page of ours reads at GET /session: it follows from the session, and leads nowhere back."""
    return hmac.digest(session.encode(), b"a form or command of this session", "sha256").hex()


def cookie(headers: RawHeaders, name: str) -> str | None:
    """The cookie of that name; None where there is none, or more than one: then somebody else set one of them."""
    given = headers.get(b"cookie", b"")
    if len(given) > COOKIE_BYTES_MAX:
        return None
    pairs = (each.partition("=") for each in given.decode("latin-1").split(";"))
    found = [value.strip() for own, _, value in pairs if own.strip() == name]
    return found[0] if len(found) == 1 and found[0] else None


def is_direct(headers: RawHeaders, client: str | None) -> bool:
    """Whether it comes from this machine and nobody passed it on: a proxy here would be on loopback as well."""
    nobody_between = not any(name in headers for name in _PASSED_ON)
    host = headers.get(b"host", b"").decode("latin-1")
    return nobody_between and client is not None and is_loopback(client) and is_own_name(host)


def is_own_name(host: str) -> bool:
    """Whether a Host header names this machine; then no other name was made to lead here."""
    try:
        parts = urlsplit(f"//{host}")
        is_name = parts.netloc == host and parts.username is None
        return is_name and parts.hostname is not None and is_loopback(parts.hostname)
    except ValueError:
        return False
