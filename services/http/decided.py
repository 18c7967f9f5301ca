"""How does whoever asked get a decision that they can show to others?"""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from domain.errors import Refused
from services.http.access import Decision, Evaluation
from services.log import decision, reader
from services.log.decision import Leaf, Statement
from services.log.folder import LogRefused, SignerFolder
from services.log.reader import Pool


class CannotSign(Refused):
    status, rule, title = 503, "signature", "This process cannot sign"


@dataclass(frozen=True, slots=True)
class Receipts:
    """Signs what was decided, with the facts that it rests on as the log has them."""

    pool: Pool
    folder: SignerFolder

    async def give(self, asked: Evaluation, told: Decision, decided: datetime) -> None:
        """Put the signed statement into the decision's context. Raises CannotSign, psycopg.Error."""
        context = told.context
        async with self.pool.connection() as conn:
            found = await reader.receipts(conn, context.because)
        statement = Statement(
            decided=decided,
            position=context.position,
            subject=msgspec.to_builtins(asked.subject),
            action=msgspec.to_builtins(asked.action),
            resource=msgspec.to_builtins(asked.resource),
            decision=told.decision,
            reason=context.reason,
            because=tuple(Leaf(position, found[position].leaf) for position in context.because),
            valid_until=context.valid_until,
            phase=context.phase,
            grant=context.grant,
            directive=context.directive,
            conditions=context.conditions,
        )
        try:
            context.receipt = decision.signed(statement, self.folder)
        except LogRefused:
            raise CannotSign("The log's key is not where this process runs.", "another process to ask") from None
