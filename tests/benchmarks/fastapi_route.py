"""How soon does a plain FastAPI route decide, on the very server that Assent serves with?

`python -m tests.benchmarks.fastapi_route` prints its address, and answers evaluations from a dict, until it is
interrupted. Bodies and answers are pydantic models, as the framework's own documentation has them.
"""

import asyncio
import sys
from contextlib import suppress
from dataclasses import replace
from typing import Any

import uvloop
from fastapi import FastAPI
from pydantic import BaseModel

from services.cli import serving
from services.settings import Settings


class Entity(BaseModel):
    type: str
    id: str
    properties: dict[str, Any] = {}


class Action(BaseModel):
    name: str


class Evaluation(BaseModel):
    subject: Entity
    action: Action
    resource: Entity
    context: dict[str, Any] = {}


class Decision(BaseModel):
    decision: bool
    context: dict[str, Any]


GRANTS = {("northgate", "atlas-4", "standard", "us_person"): True}

app = FastAPI()


@app.post("/access/v1/evaluation")
async def evaluation(asked: Evaluation) -> Decision:
    who, what = asked.subject, asked.resource
    key = (who.id, what.id, what.properties.get("tier"), who.properties.get("person_class"))
    allowed = GRANTS.get(key, False)
    return Decision(decision=allowed, context={"reason": "granted" if allowed else "no_grant"})


async def serve() -> None:
    async with serving(app, replace(Settings(), port=0), has_door=False) as (_, address):
        sys.stdout.write(f"FastAPI serves {address}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        uvloop.run(serve())
