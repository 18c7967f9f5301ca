"""May they use it now? One question, or many in one request, each answered from memory (OpenID AuthZEN 1.0)."""

from collections.abc import Iterator
from typing import Any, Literal, TypeGuard

import msgspec

from services.http.access import (
    PREFIX,
    Decision,
    Desk,
    Evaluation,
    Fault,
    MalformedAsk,
    Reasons,
    check_head,
    decode,
    malformed,
)
from services.http.answers import JSON, LINES_JSON, Exchange, Receive, Scope, Send, id_of, send_answer
from services.http.decided import Receipts

ONE, MANY = f"{PREFIX}/evaluation", f"{PREFIX}/evaluations"
BODY_BYTES_MAX = {ONE: 65_536, MANY: 1_048_576}
EVALUATIONS_MAX = 1000
RECEIPTS_MAX = 20
"""In one request: each is signed apart."""

Semantic = Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"]


class Options(msgspec.Struct, frozen=True):
    """After which decision the rest is left out; by default none is."""

    evaluations_semantic: Semantic = "execute_all"


class Evaluations(msgspec.Struct, frozen=True):
    """Many questions. What one of them leaves out, the top level says; without any, the top level is the question."""

    subject: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    action: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    resource: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    context: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    evaluations: list[Any] = []
    options: Options = Options()


class Decisions(msgspec.Struct):
    """One for each question, in their order, as far as the semantic goes."""

    evaluations: list[Decision]


Question = Evaluation | MalformedAsk
"""What is no question is answered with a refusal that says so."""

_decode_one = msgspec.json.Decoder(Evaluation).decode
_decode_many = msgspec.json.Decoder(Evaluations).decode
_encode = msgspec.json.Encoder().encode


class Evaluating:
    """Answers at both addresses; the caller's offices say about which releases."""

    def __init__(self, desk: Desk, receipts: Receipts) -> None:
        self._desk = desk
        self._receipts = receipts

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises Refused; ConnectionError where the caller went away."""
        path: str = scope["path"]
        person, body = await self._desk.heard(scope, receive, BODY_BYTES_MAX[path])
        asked = read(path, body)
        providers = self._desk.providers(person)
        await self._desk.reach(min_position(asked))
        decisions, now = self._decisions(asked, providers), self._desk.now()
        # a semantic may leave the last ones out
        for question, found in zip(_questions(asked), decisions, strict=False):
            if _wants_receipt(question):
                await self._receipts.give(question, found, now)
        await send_answer(scope, send, id_of(scope), 200, _told(asked, decisions), JSON)

    def take(self, exchange: Exchange) -> bool:
        """Whether it could be answered at once. Raises Refused."""
        desk, path = self._desk, exchange.path
        person = desk.known_person(exchange.headers)
        if person is None:
            return False
        check_head(exchange.headers, exchange.query, BODY_BYTES_MAX[path])
        asked = read(path, exchange.body)
        if (min_position(asked) or 0) > desk.replica.position or any(map(_wants_receipt, _questions(asked))):
            return False
        providers = desk.providers(person)
        desk.count(person)
        exchange.answer(200, LINES_JSON, _told(asked, self._decisions(asked, providers)))
        return True

    def _decisions(self, asked: "Asked", providers: Any) -> list[Decision]:
        if isinstance(asked, Evaluation):
            return [self._desk.decide(asked, providers)]
        return list(self._decided(*asked, providers))

    def _decided(self, questions: list[Question], semantic: Semantic, providers: Any) -> Iterator[Decision]:
        for question in questions:
            if isinstance(question, MalformedAsk):
                fault = Fault(question.status, question.detail)
                reasons = Reasons("malformed", self._desk.replica.position, missing=question.missing, error=fault)
                found = Decision(False, reasons)
            else:
                found = self._desk.decide(question, providers)
            yield found
            if semantic == ("permit_on_first_permit" if found.decision else "deny_on_first_deny"):
                return


Asked = Evaluation | tuple[list[Question], Semantic]
"""One question, or many."""


def read(path: str, body: bytes) -> Asked:
    """What is asked at that address. Raises MalformedAsk, MalformedBody."""
    if path == ONE:
        return decode(_decode_one, body)
    asked = decode(_decode_many, body)
    if not asked.evaluations:
        return decode(_decode_one, body)
    if len(asked.evaluations) > EVALUATIONS_MAX:
        raise MalformedAsk(f"At most {EVALUATIONS_MAX} evaluations go into one request.", f"{EVALUATIONS_MAX} at most")
    names = ("subject", "action", "resource", "context")
    default = {name: value for name in names if (value := getattr(asked, name)) is not msgspec.UNSET}
    questions = [_question(default, each) for each in asked.evaluations]
    if sum(map(_wants_receipt, questions)) > RECEIPTS_MAX:
        raise MalformedAsk(f"At most {RECEIPTS_MAX} receipts are given at once.", f"{RECEIPTS_MAX} at most")
    return questions, asked.options.evaluations_semantic


def _question(default: dict[str, Any], item: Any) -> Question:
    """One of many, completed by what the top level says.

    What it says of a subject or resource stands instead of the default; only their type and id may come from there.
    """
    try:
        if not isinstance(item, dict):
            raise msgspec.ValidationError("Expected `object`, got another value")
        merged = {**default, **item}
        for name in ("subject", "resource"):
            if isinstance(item.get(name), dict) and name in default:
                merged[name] = {**{k: v for k, v in default[name].items() if k in ("type", "id")}, **item[name]}
        return msgspec.convert(merged, Evaluation)
    except msgspec.ValidationError as error:
        return malformed(str(error))


def _questions(asked: Asked) -> list[Question]:
    return [asked] if isinstance(asked, Evaluation) else asked[0]


def _wants_receipt(question: Question) -> TypeGuard[Evaluation]:
    return isinstance(question, Evaluation) and question.context.receipt


def _told(asked: Asked, decisions: list[Decision]) -> bytes:
    return _encode(decisions[0] if isinstance(asked, Evaluation) else Decisions(decisions))


def min_position(asked: Asked) -> int | None:
    """The furthest position that any of the answers must rest on."""
    if isinstance(asked, Evaluation):
        return asked.context.min_position
    questions = [each for each in asked[0] if isinstance(each, Evaluation)]
    return max((each.context.min_position or 0 for each in questions), default=0) or None
