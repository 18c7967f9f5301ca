#!/usr/bin/env python3
"""What does a gateway in front of a model look like? `./run gateway`, beside `./run`, or anywhere with assent-client.

It answers every request from memory: 200 where the customer may use the release now, 403 with the reason where not,
503 once it has heard nothing of Assent for longer than --max-staleness. A real gateway takes the customer from what it
authenticated; this one believes a header, and says hello instead of calling a model.
"""

import argparse
import asyncio
import subprocess
import sys
from pathlib import Path

import uvicorn
from assent_client import AsyncGate, GateMiddleware, Hooks, Use
from assent_client.middleware import Receive, Scope, Send

RUN = Path(__file__).resolve().parents[3] / "run"

WHAT_TO_TRY = """\
The gateway answers at {here}, and goes on for {staleness:g} seconds when Assent is away. Try:

  curl -i -H 'Customer: northgate' {here}/atlas-4/standard
      200: Northgate Bank has a grant for Atlas 4.
  curl -i -H 'Customer: tinker' {here}/atlas-4/standard
      403: Tinker Labs has none; the reason says so.

Stop Northgate's access, as the provider's release manager, and ask again: 403, at once.

  curl -X POST -H "Authorization: Bearer $(./run token rae)" -H 'Idempotency-Key: stop-1' \\
       -H 'Content-Type: application/json' -d '{{"reason": "Misuse", "finding": "Shared credentials"}}' \\
       {assent}/api/v1/grants/GRANT/revocation

(GRANT: the id in the first answer.)
Stop Assent (Ctrl-C): the gateway goes on as things stood, and refuses everything with 503 after {staleness:g} seconds.
"""


class Told(Hooks):
    """Says what happens, to whoever watches."""

    def connected(self, snapshot: bool) -> None:
        print("assent: here, with a snapshot" if snapshot else "assent: here again, where it was left", flush=True)

    def disconnected(self, error: Exception) -> None:
        print(f"assent: away ({error})", flush=True)

    def changed(self, position: int) -> None:
        print(f"assent: position {position} is enforced", flush=True)


async def model(scope: Scope, receive: Receive, send: Send) -> None:
    """Stands for what is guarded."""
    answer = scope.get("assent")
    grant = f", under grant {answer.grant.id}" if answer is not None and answer.grant is not None else ""
    body = f"Hello from {scope['path']}{grant}.\n".encode() if answer else b"Ask for /RELEASE/TIER.\n"
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200 if answer else 404, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def use_of(scope: Scope) -> Use | None:
    """Which use a request is: /RELEASE/TIER of the customer in the header."""
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    parts = [part for part in scope["path"].split("/") if part]
    if not parts or len(parts) > 2:
        return None
    tier = parts[1] if len(parts) == 2 else None
    return Use(headers.get(b"customer", ""), parts[0], tier, headers.get(b"person-class", "us_person"))


def said(*arguments: str) -> str:
    """What a command of Assent's own prints; for who runs it from the same folder."""
    done = subprocess.run([sys.executable, RUN, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"`./run {' '.join(arguments)}` failed: {done.stderr.strip()}")
    return done.stdout.strip()


async def serve(options: argparse.Namespace) -> None:
    token = options.token or said("token", "gate-one")
    gate = AsyncGate(
        options.url,
        token,
        max_staleness_seconds=options.max_staleness,
        log_key=options.log_key or said("log", "key"),
        point=options.point,
        snapshot_file=options.snapshot,
        hooks=Told(),
    )
    here = f"http://{options.host}:{options.port}"
    async with gate:
        print(WHAT_TO_TRY.format(here=here, staleness=options.max_staleness, assent=options.url), flush=True)
        app = GateMiddleware(model, gate, use_of)
        await uvicorn.Server(uvicorn.Config(app, options.host, options.port, log_level="warning")).serve()


def main() -> None:
    parser = argparse.ArgumentParser(prog="./run gateway", description="A gateway in front of a model, as an example.")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="where Assent is (http://127.0.0.1:8000)")
    parser.add_argument("--token", help="of a gateway's appointment, or a key with the scope `access` (gate-one's)")
    parser.add_argument("--log-key", help="that signs the log, as `./run log key` prints it (of this folder)")
    parser.add_argument("--max-staleness", type=float, default=20.0, help="seconds to go on without Assent (20)")
    parser.add_argument("--snapshot", type=Path, help="keep a snapshot here, for a start while Assent is away")
    parser.add_argument("--point", default="example-gateway", help="its name, where it acknowledges what it enforces")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8100)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
