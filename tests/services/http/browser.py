"""What does somebody's browser send, and what does it keep?"""

from typing import Any

import httpx

from services.http.problems import MEDIA_TYPE
from tests.services.http.conftest import Service
from tests.services.http.identity_provider import IdentityProvider

FORM = {"content-type": "application/x-www-form-urlencoded"}


class Browser:
    """Somebody's browser: it keeps cookies, and says from which page it sends something."""

    def __init__(self, service: Service) -> None:
        self.client = httpx.Client(base_url=service.client.base_url, timeout=30)
        self.origin = str(service.client.base_url).rstrip("/")

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.client.get(path, headers=headers)

    def post(self, path: str, body: Any = None, **headers: str | None) -> httpx.Response:
        """As a page of the service would send it; None leaves a header out."""
        usual: dict[str, str | None] = {"origin": self.origin, "sec-fetch-site": "same-origin"}
        given = {**usual, **{name.replace("_", "-"): value for name, value in headers.items()}}
        kept = {name: value for name, value in given.items() if value is not None}
        if isinstance(body, str):
            return self.client.post(path, content=body, headers={**FORM, **kept})
        return self.client.post(path, json=body, headers=kept)

    def log_in(self, provider: IdentityProvider, person: str, to: str = "/session") -> httpx.Response:
        """By way of the provider, which knows the person already."""
        provider.signed_in = person
        away = self.get(f"/login?with={provider.issuer}&to={to}")
        assert away.status_code == 303, away.text
        back = httpx.get(away.headers["location"]).headers["location"]
        return self.get(back.removeprefix(self.origin))

    @property
    def csrf(self) -> str:
        token: str = self.get("/session").json()["csrf"]
        return token


def refusal(response: httpx.Response, status: int, rule: str) -> None:
    assert (response.status_code, response.headers["content-type"]) == (status, MEDIA_TYPE.decode()), response.text
    assert response.json()["rule"] == rule
