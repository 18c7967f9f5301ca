"""Who may use a release now, which releases may a customer use, and what may they do? (OpenID AuthZEN 1.0 searches)

A search gives what an evaluation would allow, page by page in the order of ids. A token is good for the search that it
came from; each page is as of its own moment.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from hashlib import sha256
from itertools import islice
from typing import Annotated

import msgspec

from domain.access import Use, microseconds
from domain.enforcement import Providers
from services.http.access import (
    ACTION,
    PREFIX,
    RESOURCE,
    SUBJECT,
    Action,
    Context,
    Desk,
    MalformedAsk,
    Resource,
    ResourceProperties,
    Subject,
    SubjectProperties,
    Text,
    decode,
    unknown_of,
)
from services.http.answers import JSON, Receive, Scope, Send, id_of, send_answer

SUBJECTS, RESOURCES, ACTIONS = (f"{PREFIX}/search/{what}" for what in ("subject", "resource", "action"))
BODY_BYTES_MAX = 65_536
PAGE = 100
PAGE_MAX = 1000


class Page(msgspec.Struct, frozen=True):
    """`token` (or `next_token`): that of the page before; empty for the first."""

    token: Annotated[str, msgspec.Meta(max_length=1024)] = ""
    next_token: Annotated[str, msgspec.Meta(max_length=1024)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=2**53)] = PAGE


class AnySubject(msgspec.Struct, frozen=True):
    """What is known of those who are looked for; an id is ignored."""

    type: Text
    properties: SubjectProperties = SubjectProperties()


class AnyResource(msgspec.Struct, frozen=True):
    """What is known of the releases that are looked for; an id is ignored."""

    type: Text
    properties: ResourceProperties = ResourceProperties()


class SubjectSearch(msgspec.Struct, frozen=True):
    """Who may do this to that resource?"""

    subject: AnySubject
    action: Action
    resource: Resource
    context: Context = Context()
    page: Page = Page()


class ResourceSearch(msgspec.Struct, frozen=True):
    """To which resources may this subject do this?"""

    subject: Subject
    action: Action
    resource: AnyResource
    context: Context = Context()
    page: Page = Page()


class ActionSearch(msgspec.Struct, frozen=True):
    """What may this subject do to that resource?"""

    subject: Subject
    resource: Resource
    context: Context = Context()
    page: Page = Page()


Search = SubjectSearch | ResourceSearch | ActionSearch
KINDS: dict[str, type[Search]] = {SUBJECTS: SubjectSearch, RESOURCES: ResourceSearch, ACTIONS: ActionSearch}
_DECODERS = {path: msgspec.json.Decoder(kind).decode for path, kind in KINDS.items()}
_encode = msgspec.json.Encoder().encode


class Result(msgspec.Struct, omit_defaults=True):
    """A subject or resource by type and id, or an action by name."""

    type: str = ""
    id: str = ""
    name: str = ""


class NextPage(msgspec.Struct):
    """`next_token` is empty on the last page."""

    next_token: str
    count: int


class AsOf(msgspec.Struct):
    position: int


class Results(msgspec.Struct):
    results: list[Result]
    page: NextPage
    context: AsOf


class Searching:
    """Answers at the three addresses; the caller's offices say about which releases."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises Refused; ConnectionError where the caller went away."""
        person, body = await self._desk.heard(scope, receive, BODY_BYTES_MAX)
        asked: Search = decode(_DECODERS[scope["path"]], body)
        providers = self._desk.providers(person)
        await self._desk.reach(asked.context.min_position)
        found = self.page(asked, providers)
        await send_answer(scope, send, id_of(scope), 200, _encode(found), JSON)

    def page(self, asked: Search, providers: Providers) -> Results:
        """What there is after the page before. Raises MalformedAsk where the token is of another search."""
        after = _after(asked)
        limit = min(asked.page.limit, PAGE_MAX)
        found = list(islice(self._found(asked, providers, after), limit + 1))
        token = _token(asked, found[limit - 1]) if len(found) > limit else ""
        kind = {SubjectSearch: SUBJECT, ResourceSearch: RESOURCE}.get(type(asked))
        results = [Result(type=kind, id=each) if kind else Result(name=each) for each in found[:limit]]
        return Results(results, NextPage(token, len(results)), AsOf(self._desk.replica.position))

    def _found(self, asked: Search, providers: Providers, after: str) -> Iterable[str]:
        desk, access, now = self._desk, self._desk.replica.access, microseconds(self._desk.now())
        action = ACTION if isinstance(asked, ActionSearch) else asked.action.name
        if unknown_of(asked.subject.type, action, asked.resource.type) is not None:
            return ()
        who, tier = asked.subject.properties, asked.resource.properties.tier
        match asked:
            case SubjectSearch():
                release = access.releases.get(asked.resource.id)
                is_open = release is not None and release.access == "open"
                customers = access.customers if is_open else access.grants
                uses = ((id, Use(id, asked.resource.id, tier, *_known(who))) for id in _sorted(customers, after))
            case ResourceSearch():
                uses = ((id, Use(asked.subject.id, id, tier, *_known(who))) for id in _sorted(access.releases, after))
            case ActionSearch():
                use = Use(asked.subject.id, asked.resource.id, tier, *_known(who))
                uses = ((ACTION, use) for _ in range(after < ACTION))
        return (id for id, use in uses if desk.knows(use.release, providers) and access.decide(use, now)[0].allowed)


def _known(who: SubjectProperties) -> tuple[str | None, str | None]:
    return who.person_class, who.affiliate


def _sorted(ids: Iterable[str], after: str) -> list[str]:
    return sorted(id for id in ids if id > after)


# Tokens: after which id the next page begins, and of which search


def _digest(asked: Search) -> bytes:
    return sha256(_encode(msgspec.structs.replace(asked, page=Page(), context=Context()))).digest()[:12]


def _token(asked: Search, last: str) -> str:
    return urlsafe_b64encode(_digest(asked) + last.encode()).decode().rstrip("=")


def _after(asked: Search) -> str:
    """The last id of the page before; empty for the first page. Raises MalformedAsk."""
    token = asked.page.token or asked.page.next_token
    if not token:
        return ""
    try:
        found = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
        if found[:12] == _digest(asked):
            return found[12:].decode()
    except ValueError:
        pass
    raise MalformedAsk("The page's token is not of this search.", "the next_token of the page before")
