"""Whose is the key that a machine shows, and what is it good for at this moment?"""

from collections.abc import Callable
from datetime import datetime

from domain import key
from services.api_keys import digest_of, parts_of
from services.http.identity import Identity
from services.http.key_uses import KeyUses
from services.http.problems import ScopeMissing
from services.replica import Replica


class Machines:
    """Knows the keys of the log as far as this process has it, and notes that they are used."""

    def __init__(self, replica: Replica, now: Callable[[], datetime], uses: KeyUses) -> None:
        self._replica = replica
        self._now = now
        self._uses = uses

    def __call__(self, token: str) -> Identity | None:
        """Whom the token speaks for now; None where no key in force has that secret."""
        parts = parts_of(token)
        here = self._replica.key(parts[0]) if parts else None
        if here is None or parts is None or not here.accepts(digest_of(parts[1]), self._now()):
            return None
        self._uses.note(here.id)
        return Identity(key.person(here.id), frozenset(here.scopes), here.until.timestamp(), is_machine=True)


def must_have_scope(identity: Identity, scope: key.Scope) -> None:
    """A machine does what its key is for; a person's token needs no scope for what their offices allow.

    Raises ScopeMissing.
    """
    if identity.is_machine and scope not in identity.scopes:
        raise ScopeMissing("The key is not for this.", f"a key with the scope {scope}")


def must_be_person(identity: Identity) -> None:
    """No machine decides anything. Raises ScopeMissing."""
    if identity.is_machine:
        raise ScopeMissing("A machine's key gives no commands.", "a person's token")
