"""What is the secret of a machine's key, and whose is the one that somebody shows?

A key's token is `assent_<id>_<secret>`. The log holds the secret's hash alone. The secret follows from the command that
asked for it and from a file of this installation, so that the command repeated gives the first answer again.
"""

import hmac
import os
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from services.durable import made_once

PREFIX = "assent_"
"""What every token of a key begins with, so that one that leaked is found by whoever looks for it."""

SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Secrets:
    """Makes secrets, each for one command."""

    master: bytes

    def of(self, person: str, idempotency_key: bytes) -> str:
        """The secret that this person's command under that key makes: 43 characters, 256 bits."""
        made = hmac.digest(self.master, person.encode() + b"\x00" + idempotency_key, "sha256")
        return urlsafe_b64encode(made).decode().rstrip("=").replace("_", ".")


def secrets_in(folder: Path) -> Secrets:
    """Those of this installation."""
    return Secrets(made_once(folder / "secret", lambda: os.urandom(SECRET_BYTES)))


def digest_of(secret: str) -> str:
    """What the log holds of a secret: SHA-256 in hexadecimal. There is nothing to guess, for a secret has 256 bits."""
    return sha256(secret.encode()).hexdigest()


def token_of(id: str, secret: str) -> str:
    """What the machine shows."""
    return f"{PREFIX}{id}_{secret}"


def parts_of(token: str) -> tuple[str, str] | None:
    """The key's id and the secret; None where it is no key's token."""
    id, _, secret = token.removeprefix(PREFIX).partition("_")
    return (id, secret) if token.startswith(PREFIX) and id and secret else None
