"""Whose word does this service take for who somebody is?"""

from dataclasses import dataclass

from services.http.identity import DevelopmentIssuer, Issuer
from services.http.oidc import OpenIdIssuer
from services.http.providers import Provider
from services.settings import Settings


@dataclass(frozen=True, slots=True)
class Issuers:
    """The identity providers that were configured; in development mode, this service itself as well."""

    providers: tuple[OpenIdIssuer, ...]
    development: DevelopmentIssuer | None

    def all(self) -> tuple[Issuer, ...]:
        return (*self.providers, self.development) if self.development else self.providers


def issuers_of(settings: Settings) -> Issuers:
    """Raises DevelopmentOnly, and UnfitAnswer for a provider whose address is not safe."""
    is_development = settings.mode == "development"
    providers = tuple(OpenIdIssuer(Provider(known, is_development)) for known in settings.issuers)
    return Issuers(providers, DevelopmentIssuer(settings) if is_development else None)
