"""From which network address does a request come, where proxies of ours pass it on?"""

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache

from services.settings import Network

REMEMBERED_MAX = 4096
FORWARDED_FOR, FORWARDED = b"x-forwarded-for", b"forwarded"

_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*"?([^";]*)"?\s*(?=;|$)', re.IGNORECASE)
_WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Sources:
    """Believes what the proxies of the settings say of whom they pass on, and nobody else."""

    def __init__(self, proxies: Iterable[Network]) -> None:
        self._proxies = tuple(proxies)
        self._is_proxy = lru_cache(maxsize=REMEMBERED_MAX)(self._is_ours)

    def __bool__(self) -> bool:
        """Whether any proxy is believed."""
        return bool(self._proxies)

    def of(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """The last address on the way here that is no proxy of ours; `peer` is the other end of the connection.

        Where both headers are there and differ, somebody else wrote one of them: then it is whoever passed it on.
        """
        if not self._is_proxy(peer):
            return peer
        lines = {FORWARDED_FOR: "", FORWARDED: ""}
        for name, value in headers:
            if name in lines:
                lines[name] += f",{value.decode('latin-1')}"
        found = {
            self._last(peer, text.split(",")[1:] if name == FORWARDED_FOR else _fors(text))
            for name, text in lines.items()
            if text
        }
        return found.pop() if len(found) == 1 else peer

    def _last(self, peer: str, hops: list[str]) -> str:
        """Backwards along the way, as far as each was said by a proxy of ours."""
        nearest = peer
        for hop in reversed(hops):
            address = _address(hop)
            if address is None:
                return nearest
            nearest = str(address)
            if not self._is_proxy(nearest):
                return nearest
        return nearest

    def _is_ours(self, peer: str) -> bool:
        address = _address(peer)
        return address is not None and any(address in network for network in self._proxies)


def _fors(text: str) -> list[str]:
    """The `for` of each element of a Forwarded header (RFC 7239); empty where it has none."""
    return [found[1] if (found := _FOR.search(element)) else "" for element in text.split(",")[1:]]


def _address(text: str) -> Address | None:
    text = text.strip()
    if (found := _WITH_PORT.fullmatch(text)) is not None:
        text = found[1] or found[2]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


@lru_cache(maxsize=REMEMBERED_MAX)
def household_of(source: str) -> str:
    """Whom an address stands for where callers are counted: of IPv6, whoever has one address has its whole /64."""
    address = _address(source)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return source if address is None else str(address)
