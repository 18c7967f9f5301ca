"""By which names is the service reached? A name that others let lead here makes their pages look like ours."""

import ipaddress
from functools import lru_cache
from urllib.parse import urlsplit

from domain.errors import Refused
from services.http.browsers import is_own_name
from services.settings import Settings

REMEMBERED_MAX = 1024


class WrongHost(Refused):
    """A page whose host's name was made to lead here (DNS rebinding) would read our answers as its own."""

    status, rule, title = 421, "host", "The service is not known by this name"

    def __init__(self) -> None:
        super().__init__("The Host header names another service.", "a Host that ASSENT_URL or ASSENT_HOSTS names")


class Hosts:
    """Those of the settings, and this machine itself; with nothing set in production, any.

    An address is a name that nobody can make lead elsewhere, so outside development it may be any of ours.
    """

    def __init__(self, settings: Settings) -> None:
        url = urlsplit(settings.url).hostname
        self._names = settings.hosts | ({url} if url else set())
        self._is_development = settings.mode == "development"
        self.accepts = lru_cache(maxsize=REMEMBERED_MAX)(self._accepts)
        """Whether a Host header, as it came, names us: it is asked at every request."""

    def _accepts(self, host: bytes | None) -> bool:
        if not self._is_development and not self._names:
            return True
        given = (host or b"").decode("latin-1").lower()
        if is_own_name(given):
            return True
        try:
            parts = urlsplit(f"//{given}")
            name = parts.hostname
        except ValueError:
            return False
        if parts.netloc != given or name is None or parts.username is not None:
            return False
        return name in self._names or (not self._is_development and _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
