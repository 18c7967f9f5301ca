"""Which identity providers does this installation take people from, and which of their tokens?"""

import ipaddress
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Those an issuer may be configured with: each is asymmetric, so who can verify a token cannot make one."""

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=512, pattern=r"^\S(.*\S)?$")]


class KnownIssuer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One provider, as an operator describes it. `issuer` is its address, to the letter, as its tokens have it.

    `person` and `scopes` name claims. `suffix` is put behind the person's claim: the names of this provider's people.
    """

    issuer: Text
    audience: Text
    algorithms: tuple[str, ...] = ("RS256", "PS256", "ES256", "EdDSA")
    types: tuple[str, ...] = ("at+jwt",)
    person: Text = "sub"
    suffix: Annotated[str, msgspec.Meta(pattern=r"^(@[A-Za-z0-9._-]{1,63})?$")] = ""
    scopes: Text = "scope"
    client_id: str = ""
    client_secret_file: str = ""
    ca_file: str = ""
    name: str = ""

    @property
    def has_login(self) -> bool:
        """Whether browsers can be sent there to log in."""
        return bool(self.client_id)

    @property
    def shown_name(self) -> str:
        return self.name or urlsplit(self.issuer).netloc

    def client_secret(self) -> str:
        """Empty for a client that has none. Raises OSError."""
        return Path(self.client_secret_file).read_text().strip() if self.client_secret_file else ""


def known_issuers(text: str) -> tuple[KnownIssuer, ...]:
    """Those that a JSON array describes. Raises ValueError that says what would do."""
    if not text.strip():
        return ()
    try:
        found = msgspec.json.decode(text, type=tuple[KnownIssuer, ...])
    except msgspec.DecodeError as error:
        raise ValueError(f"a JSON array of issuers, as docs/identity.md describes them ({error})") from None
    for each in found:
        _check(each)
    if len({each.issuer for each in found}) < len(found):
        raise ValueError("each issuer once")
    suffixes = [each.suffix for each in found]
    if len(found) > 1 and (not all(suffixes) or len(set(suffixes)) < len(found)):
        raise ValueError("issuers with a `suffix` each, all different: two providers may both know a cora")
    return found


def _check(known: KnownIssuer) -> None:
    """Raises ValueError."""
    if not known.algorithms or not set(known.algorithms) <= set(ALGORITHMS):
        raise ValueError(f"issuers with `algorithms` among {', '.join(ALGORITHMS)}")
    types = {each.lower() for each in known.types}
    if not types or "" in types:
        raise ValueError(
            "issuers with `types`, those of access tokens: at+jwt, or JWT where the provider has no better"
        )
    if "jwt" in types and known.client_id == known.audience:
        raise ValueError(
            "issuers whose `client_id` differs from their `audience` where `types` has JWT: an ID token could otherwise"
            " pass for an access token"
        )
    if not known.issuer.startswith(("https://", "http://")) or set("?#") & set(known.issuer):
        raise ValueError("issuers whose address begins with https:// and has neither a query nor a fragment")


def is_safe_address(url: str, is_development: bool) -> bool:
    """Whether what is fetched there comes from whom it says: https; plain http to this machine in development alone."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or parts.password is not None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_development and is_loopback(host))


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
