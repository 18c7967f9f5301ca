"""How do the tests of the client reach a service, and a gate that follows it?"""

from collections.abc import Iterator

import pytest

from services.http import access_feed
from tests.services.http.conftest import Ask, Service, request_of, service
from tests.services.http.test_access_feed import grant_of
from tests.services.http.test_queries import approved

__all__ = ["granted", "quick", "request_of", "service"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(access_feed, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(access_feed, "SNAPSHOT_SECONDS", 0.0)
    yield


@pytest.fixture
def granted(service: Service, request_of: Ask) -> tuple[str, int]:
    """A new grant of northwind, and the position since which."""
    request = request_of()
    position = approved(service, request)
    return grant_of(service, request, position), position
