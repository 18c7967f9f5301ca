"""Who, apart from us, says that the log only ever grew? A small process with a key and a file of its own.

It speaks C2SP tlog-witness over HTTP: a log submits a checkpoint with a proof that it continues the last one cosigned,
and gets a cosignature with the time. What it knows of each log is durable before it answers, so a log that forked or
was put back gets none, whatever happens to the witness in between.
"""

import asyncio
import fcntl
import logging
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services import durable
from services.http.answers import Receive, Scope, Send
from services.log import note
from services.log.merkle import EMPTY_ROOT, ProofRefused, verify_consistency
from services.log.note import COSIGNATURE, Checkpoint, NoteRefused, Verifier
from services.log.submission import BODY_BYTES_MAX, PATH, SIZE_TYPE, Submission

PLAIN = "text/plain; charset=utf-8"

_log = logging.getLogger(__name__)


class NotCosigned(Exception):
    """The witness refuses: status and body of its answer, as tlog-witness has them."""

    def __init__(self, status: int, body: str, media_type: str = PLAIN) -> None:
        super().__init__(body)
        self.status = status
        self.body = f"{body}\n"
        self.media_type = media_type


class WitnessUnable(Exception):
    """It cannot start; the message says what would help."""


class Seen(msgspec.Struct, frozen=True):
    """The head of a log that was cosigned last, and when (seconds since 1970)."""

    size: int = 0
    root: bytes = EMPTY_ROOT
    seconds: int = 0


class WitnessFolder:
    """The witness's key, and the file that says what it cosigned last of each log, by origin."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key_path = folder / "witness.key"
        self._seen_path = folder / "seen.json"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else is a witness from this folder meanwhile. Raises WitnessUnable."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._folder / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise WitnessUnable(f"Another witness runs from {self._folder}. A folder is one witness.") from None
            yield

    def key(self) -> Ed25519PrivateKey:
        """The witness's key, made on first use, after the file that goes with it. Raises WitnessUnable."""
        if self._key_path.exists() and not self._seen_path.exists():
            raise WitnessUnable(
                f"{self._seen_path} is gone: without it, this witness could cosign a log that was taken back. Restore "
                "it as it was last, or remove the key as well, to begin as a new witness that logs must come to know."
            )
        durable.made_once(self._seen_path, lambda: b"{}")
        made = durable.made_once(self._key_path, lambda: b64encode(Ed25519PrivateKey.generate().private_bytes_raw()))
        return Ed25519PrivateKey.from_private_bytes(b64decode(made))

    def seen(self) -> dict[str, Seen]:
        """Raises WitnessUnable."""
        try:
            return msgspec.json.decode(self._seen_path.read_bytes(), type=dict[str, Seen])
        except msgspec.DecodeError as error:
            raise WitnessUnable(f"{self._seen_path} is not as it was written: {error}. Restore it.") from None

    def keep(self, seen: dict[str, Seen]) -> None:
        """Durable when it returns."""
        durable.replace(self._seen_path, msgspec.json.encode(seen))


class Witness:
    """Cosigns the checkpoints of the logs it knows, each by one or more keys whose name is the log's origin."""

    def __init__(
        self, folder: WitnessFolder, name: str, logs: Sequence[Verifier], now: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._name = name
        self._key = folder.key()
        self._logs = {log.name: [each for each in logs if each.name == log.name] for log in logs}
        self._now = now
        self._turn = threading.Lock()
        self._seen = folder.seen()

    @property
    def verifier(self) -> Verifier:
        return note.verifier_of(self._name, self._key, COSIGNATURE)

    def add_checkpoint(self, body: bytes) -> str:
        """The cosignature's line. Raises NotCosigned, OSError where nothing can be written."""
        try:
            submission = Submission.parse(body)
            head = submission.checkpoint
        except NoteRefused as refused:
            raise NotCosigned(400, str(refused)) from None
        if head.origin not in self._logs:
            raise NotCosigned(404, f"No log {head.origin[:128]} is known here.")
        if not submission.note.verified_by_some_of(self._logs[head.origin]):
            raise NotCosigned(403, "The checkpoint is not signed by a key of that log.")
        if submission.old > head.size:
            raise NotCosigned(400, f"The old size {submission.old} is above the checkpoint's, {head.size}.")
        with self._turn:
            seen = self._seen.get(head.origin, Seen())
            _check_continues(submission, head, seen)
            seconds = max(int(self._now()), seen.seconds)
            known = {**self._seen, head.origin: Seen(head.size, head.root, seconds)}
            self._folder.keep(known)
            self._seen = known
        return str(note.cosign(submission.note.text, self._name, self._key, seconds))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        try:
            status, media_type, body = 200, PLAIN, await self._answer(scope, receive)
        except NotCosigned as refused:
            status, media_type, body = refused.status, refused.media_type, refused.body
        except OSError:
            _log.exception("What was seen cannot be kept, so nothing is cosigned")
            status, media_type, body = 500, PLAIN, "The witness cannot write its file.\n"
        content = body.encode()
        headers = [(b"content-type", media_type.encode()), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _answer(self, scope: Scope, receive: Receive) -> str:
        asked = (scope["method"], scope["path"])
        if asked == ("GET", "/healthz"):
            return "ok\n"
        if asked != ("POST", PATH):
            raise NotCosigned(404, f"A witness answers POST {PATH}.")
        return await asyncio.to_thread(self.add_checkpoint, await _body(receive))


def _check_continues(submission: Submission, head: Checkpoint, seen: Seen) -> None:
    """The order and the statuses are those of tlog-witness."""
    if submission.old != seen.size:
        raise NotCosigned(409, str(seen.size), SIZE_TYPE)
    if head.size == seen.size and head.root != seen.root:
        _log.critical("%s shows two heads of size %d: it forked", head.origin, head.size)
        raise NotCosigned(409, f"Another head of size {head.size} was cosigned: this log forked.")
    try:
        if seen.size == 0 or head.size == seen.size:
            if submission.proof:
                raise ProofRefused("Nothing lies between the two, so the proof is empty.")
        else:
            verify_consistency(seen.size, head.size, seen.root, head.root, submission.proof)
    except ProofRefused as refused:
        raise NotCosigned(422, str(refused)) from None


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > BODY_BYTES_MAX:
            raise NotCosigned(413, f"A submission has at most {BODY_BYTES_MAX} bytes.")
        if not message.get("more_body", False):
            return bytes(body)
