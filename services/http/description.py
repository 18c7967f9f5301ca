"""What can be asked, and what is answered? The OpenAPI document, and the same as a page.

Reads are described as the framework knows them, commands from their dataclasses.
"""

import re
from functools import cache
from importlib.resources import files
from inspect import cleandoc, getdoc
from typing import Any, get_args

import msgspec
from fastapi import APIRouter, FastAPI, Response
from fastapi.openapi.utils import get_openapi
from jinja2 import Environment, PackageLoader, select_autoescape

from domain.authority import COMMANDS as MAY
from domain.authority import READS, Reading
from domain.organization import Role
from domain.sign_offs import Tree
from services.http import access_requests, commands, enforcement, evaluations, examples, exports, search
from services.http.access import Decision, Evaluation
from services.http.access_feed import FEED
from services.http.access_requests import Handed
from services.http.bodies import name_of
from services.http.commands import PREFIX, ROUTES, CommandAnswer, Route
from services.http.feed import MEDIA_TYPE
from services.http.problems import Problem
from services.http.reads import json_response

Document = dict[str, Any]

INTRODUCTION = """
Assent takes commands, answers queries, and proves that nobody rewrote what happened.

Every command is a POST with an `Idempotency-Key`: repeated with the same key it gives the first answer again. Its
answer carries the `position` of what it wrote; a read with `after=<position>` includes it. Every refusal is
problem+json and names the rule and what is missing. Whoever asks more often than one caller may is answered 429, and
after `Retry-After` seconds may ask again. Every answer has an `X-Request-ID`, under which our logs tell of it. Lists go
page by page: `next` is the `cursor` of the next one. Every list and document can be read `at` an earlier position or
time; `/diff` tells what changed between two of them.
"""

TREE: Document = {
    "description": "Whose sign-offs are needed: an agency, or all of, or at least so many of, further trees.",
    "oneOf": [
        {
            "type": "object",
            "required": ["agency"],
            "additionalProperties": False,
            "properties": {
                "agency": {"type": "string", "pattern": "^[a-z0-9][a-z0-9.-]{0,62}$"},
                "quorum": {"type": "integer", "minimum": 1, "maximum": 100, "default": 1},
                "countersign": {"type": "boolean", "default": False},
                "due_days": {"type": ["integer", "null"], "minimum": 1, "maximum": 3660},
                "days": {"enum": ["calendar", "business", None]},
                "silence": {"enum": ["block", "escalate", "no_objection"], "default": "block"},
            },
        },
        {
            "type": "object",
            "required": ["all_of"],
            "additionalProperties": False,
            "properties": {
                "all_of": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/SignOffTree"}}
            },
        },
        {
            "type": "object",
            "required": ["at_least", "of"],
            "additionalProperties": False,
            "properties": {
                "at_least": {"type": "integer", "minimum": 1},
                "of": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/SignOffTree"}},
            },
        },
    ],
}

LISTING: Document = {
    "type": "object",
    "required": ["items", "next", "position"],
    "properties": {
        "items": {"type": "array", "items": {"type": "object"}},
        "next": {
            "description": "The cursor of the next page; null: this is the last",
            "type": ["string", "integer", "null"],
        },
        "position": {"description": "As of which position all this holds", "type": "integer"},
    },
}

EXPORTED: Document = {
    exports.CSV: {
        "schema": {
            "type": "string",
            "description": "RFC 4180, a header row first; names in one cell as `a; b`, parts as JSON",
        },
        "example": examples.CSV,
    },
    exports.JSONL: {
        "schema": {"type": "string", "description": "An item a line; the last line says `complete`, or it is not"},
        "example": examples.JSONL,
    },
}
"""What a list answers where `format` asks for a file."""

SESSION: Document = {
    "type": "apiKey",
    "in": "cookie",
    "name": "__Host-assent",
    "description": "A browser that logged in. Its commands come from a page of this service, and show in X-CSRF-Token"
    " what GET /session tells.",
}
SIGNED_IN: list[Document] = [{"bearer": []}, {"session": []}]

PROBLEMS = {
    400: "Malformed: a header, a parameter or JSON that cannot be read",
    401: "No token, or one that is not accepted",
    403: "You may see it, but lack the role",
    404: "Unknown, or not yours to see",
    405: "The address does not answer this method",
    409: "A rule, or what happened before, forbids it",
    410: "The refusal that it answers is too old",
    412: "It has changed since you read it",
    408: "The request did not arrive in time",
    413: "The body is too large",
    415: "The body is not declared as JSON",
    421: "The Host header names another service",
    422: "The body does not fit, or names what does not exist; or the key was used for another command",
    425: "The log does not go so far yet, or no checkpoint covers this yet",
    429: "You ask more often than one caller may; after Retry-After seconds you may again",
    431: "The address or the headers are too large",
    500: "Our mistake",
    503: "Storage or a projection is not available, or too many commands wait; repeating with the same key is safe",
}
ANYWHERE = (400, 408, 421, 431)
"""Before anybody looks at what a request asks."""
COMMAND_PROBLEMS = (400, 401, 403, 404, 409, 412, 413, 415, 422, 429, 500, 503)
READ_PROBLEMS = (400, 401, 403, 404, 422, 425, 429, 500, 503)
EVALUATION_PROBLEMS = (400, 401, 403, 413, 429, 500, 503)

ASKED: dict[str, tuple[str, str, type, type]] = {
    evaluations.ONE: ("evaluate", "May they use it now?", Evaluation, Decision),
    evaluations.MANY: ("evaluateMany", "Many questions at once", evaluations.Evaluations, evaluations.Decisions),
    search.SUBJECTS: ("searchSubjects", "Who may use it now?", search.SubjectSearch, search.Results),
    search.RESOURCES: ("searchResources", "What may they use now?", search.ResourceSearch, search.Results),
    access_requests.REQUESTS: ("applyForAccess", "Apply upon a refusal", access_requests.Application, Handed),
    search.ACTIONS: ("searchActions", "What may they do with it now?", search.ActionSearch, search.Results),
    enforcement.ENFORCEMENT: (
        "acknowledgeEnforcement",
        "So far the log is enforced here",
        enforcement.Acknowledgement,
        enforcement.Known,
    ),
}
"""What gateways ask and say: operation, summary, body, answer."""


def router(framework: FastAPI) -> APIRouter:
    here = APIRouter(tags=["description"])

    @cache
    def document() -> Document:
        return describe(framework)

    @here.get("/openapi.json", summary="This description")
    async def openapi() -> Response:
        return json_response(document())

    @here.get("/docs", summary="This description as a page")
    async def docs() -> Response:
        return Response(page(document()), media_type="text/html; charset=utf-8")

    @here.get("/docs/page.css", summary="How the page looks")
    async def css() -> Response:
        return Response(files("services.http").joinpath("page.css").read_text(), media_type="text/css; charset=utf-8")

    return here


def describe(framework: FastAPI) -> Document:
    """The whole OpenAPI document."""
    found = get_openapi(
        title=framework.title,
        version=framework.version,
        openapi_version="3.1.0",
        description=cleandoc(INTRODUCTION),
        routes=framework.routes,
    )
    schemas, bodies = _schemas()
    found["components"] = {
        "schemas": schemas,
        "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}, "session": SESSION},
    }
    for path, item in found["paths"].items():
        for operation in item.values():
            _complete(path, operation)
    for route in ROUTES:
        found["paths"].setdefault(PREFIX + route.path, {})["post"] = _command(route, bodies[route.path])
    found["paths"] |= {path: {"post": _asked(path)} for path in ASKED}
    return found


def _schemas() -> tuple[dict[str, Document], dict[str, Document]]:
    """All named schemas, and the schema of each command's body by its path."""
    types: list[Any] = [route.body.schema for route in ROUTES]
    named = [CommandAnswer, Problem, *(kind for _, _, *kinds in ASKED.values() for kind in kinds)]
    outs, components = msgspec.json.schema_components(
        [*types, *named], schema_hook=_schema_of, ref_template="#/components/schemas/{name}"
    )
    bodies = {route.path: out for route, out in zip(ROUTES, outs, strict=False)}
    schemas = {name: _portable(schema) for name, schema in components.items()}
    return {**schemas, "SignOffTree": TREE, "Listing": LISTING}, bodies


def _schema_of(type_: type) -> Document:
    if type_ is Tree:
        return {"$ref": "#/components/schemas/SignOffTree"}
    raise NotImplementedError(f"no schema for {type_}")


def _portable(schema: Any) -> Any:
    """Patterns as every validator reads them: what Python writes as \\Z is $ elsewhere."""
    if isinstance(schema, dict):
        return {
            key: value.replace(r"\Z", "$") if key == "pattern" and isinstance(value, str) else _portable(value)
            for key, value in schema.items()
        }
    return [_portable(each) for each in schema] if isinstance(schema, list) else schema


# Operations


def _complete(path: str, operation: Document) -> None:
    """What the framework does not know of a read: who may, the shape of its answer, its refusals."""
    open_to_all = READS[path] is Reading.ANYONE
    operation["security"] = [] if open_to_all else SIGNED_IN
    operation["description"] = f"For {READS[path].value}."
    operation["operationId"] = _operation_id(path, "get")
    responses: dict[str, Document] = {"200": {"description": "The answer", "content": _content(path)}}
    statuses: tuple[int, ...] = (500,) if open_to_all else READ_PROBLEMS
    if path == "/metrics":
        statuses = (401, 429, 500, 503)  # nobody needs a token, but who brings one says who they are
    if path in LOGIN_PARAMETERS:
        statuses = (400, 429, 500, 503)
        operation["parameters"] = LOGIN_PARAMETERS[path]
        responses["303"] = {"description": "On to the identity provider, or back to where one wanted to go"}
    if path == "/login/callback":
        del responses["200"]
    if path in ("/api/v1/events", FEED):
        last = _header(
            "Last-Event-ID",
            "Go on after this event of the feed (with Accept: text/event-stream)",
            "41",
            pattern="^[0-9]{1,18}$",
        )
        operation["parameters"] = [*operation["parameters"], last]
    if any(each["name"] == "format" for each in operation.get("parameters", ())):
        responses["200"]["content"] |= EXPORTED
    if path == FEED:
        operation["security"], statuses = [{"bearer": []}], (400, 401, 403, 429, 500, 503)
    if path == "/readyz":
        responses["503"] = {"description": "Not ready", "content": _content(path)}
    if path == "/api/v1/development/clock":
        statuses = (400, 403, 409, 413, 415, 422, 500)
        operation["requestBody"] = _json_body(
            {
                "type": "object",
                "required": ["to"],
                "properties": {"to": {"type": "string", "format": "date-time"}},
                "additionalProperties": False,
            },
            {"to": "2026-06-27T14:00:00Z"},
        )
    if re.fullmatch(r"/api/v1/[a-z-]+/\{id\}", path):
        responses["200"]["headers"] = {"ETag": _text_header("The version in quotes, for If-Match")}
        responses["304"] = {"description": "You have this version already"}
        operation["parameters"] = [*operation["parameters"], _header("If-None-Match", "A version you have", '"3"')]
    operation["responses"] = {**responses, **_problems(statuses)}


def _content(path: str) -> Document:
    if path in ("/docs", "/login") or path.endswith("/dossier"):
        return {"text/html": {"schema": {"type": "string"}}}
    if path == "/docs/page.css":
        return {"text/css": {"schema": {"type": "string"}}}
    if path.endswith("/checkpoint") or path == "/metrics":
        return {"text/plain": {"schema": {"type": "string"}}}
    if "/tile/" in path:
        return {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    if path == "/api/v1/events":
        return {
            **_json({"$ref": "#/components/schemas/Listing"}, {"items": [], "next": None, "position": 41}),
            MEDIA_TYPE: {"schema": {"type": "string"}},
        }
    if path == "/api/v1/diff":
        return _json({"type": "object"}, examples.DIFFERENCE)
    if path == FEED:
        return {MEDIA_TYPE: {"schema": {"type": "string"}}}
    is_list = path in LISTS or path.endswith("/history")
    schema = {"$ref": "#/components/schemas/Listing"} if is_list else {"type": "object"}
    return {"application/json": {"schema": schema}}


def _query(name: str, description: str, **schema: str) -> Document:
    return {"name": name, "in": "query", "description": description, "schema": {"type": "string", **schema}}


LOGIN_PARAMETERS: dict[str, list[Document]] = {
    "/login": [
        _query("to", "A path of this service to go to after that", pattern=r"^/([!-.0-\[\]-~][!-\[\]-~]{0,1022})?$"),
        _query("with", "The identity provider, where there are several"),
    ],
    "/login/callback": [
        _query("state", "As it was sent along"),
        _query("code", "What the identity provider lets us redeem"),
        _query("iss", "Who answers (RFC 9207)"),
    ],
}

LISTS = frozenset(
    path for path in READS if re.fullmatch(r"/api/v1/[a-z-]+|/api/v1/dashboards/[a-z_/]+|/api/v1/log/keys", path)
)


def _command(route: Route, body: Document) -> Document:
    name = name_of(route.command)
    roles = sorted({role for rule in MAY[route.command] for role in rule.roles})
    return {
        "operationId": name[0].lower() + name[1:],
        "tags": [route.parts[0]],
        "summary": (getdoc(route.command) or name).rstrip("."),
        "description": f"Command `{name}`, for: {', '.join(roles)}.",
        "security": SIGNED_IN,
        "parameters": [*_path_parameters(route), *_COMMAND_PARAMETERS],
        "requestBody": _json_body(body, examples.body_example(route.command, route.given)),
        "responses": {
            "200": {"description": "A dry run: what would be written", "content": _answer_content()},
            "201": {
                "description": "Written",
                "headers": {
                    "ETag": _text_header("The version of your view, in quotes"),
                    "Location": _text_header("Where it can be read"),
                },
                "content": _answer_content(),
            },
            **_problems(COMMAND_PROBLEMS),
        },
    }


def _path_parameters(route: Route) -> list[Document]:
    found = []
    for name, accepted, is_number in zip(route.given, route.accepts, route.numbers, strict=True):
        schema: Document = (
            {"type": "integer", "minimum": 1} if is_number else {"type": "string", "pattern": f"^{accepted.pattern}$"}
        )
        example = 1 if is_number else examples.FIELDS.get(name, examples.ANSWER["id"])
        found.append({"name": name, "in": "path", "required": True, "schema": schema, "example": example})
    return found


def _header(name: str, description: str, example: str, **schema: str) -> Document:
    """`schema`: what is to be said of its text, such as `pattern`."""
    return {
        "name": name,
        "in": "header",
        "description": description,
        "schema": {"type": "string", **schema},
        "example": example,
    }


_COMMAND_PARAMETERS: list[Document] = [
    {
        "name": "dry_run",
        "in": "query",
        "description": "Say what would be written, or why not; write nothing. No key is needed",
        "schema": {"type": "boolean", "default": False},
    },
    _header(
        "Idempotency-Key",
        "Needed unless it is a dry run. The same key with the same command gives the first answer again",
        "5f0c1a52-signoff-1",
        pattern="^[!-~]{1,255}$",
    ),
    _header(
        "If-Match", "Only if the version, as ETag had it, is still this", '"3"', pattern='^"(0|[1-9][0-9]{0,17})"$'
    ),
    _header(
        "Acting-As",
        "Which of your appointments this is, where several would do: organization/role",
        "commerce/reviewer",
        pattern=f"^[a-z0-9][a-z0-9.-]{{0,62}}/({'|'.join(get_args(Role))})$",
    ),
    _header(
        "Occurred-At",
        "When it happened, if the log learns of it late (RFC 3339; token scope `backdate`)",
        "2026-06-26T16:00:00Z",
        format="date-time",
    ),
]


def _asked(path: str) -> Document:
    """What gateways ask and say."""
    id, summary, asked, answer = ASKED[path]
    is_taken = path == access_requests.REQUESTS
    return {
        "operationId": id,
        "tags": ["access"],
        "summary": summary if path == enforcement.ENFORCEMENT else f"{summary} (OpenID AuthZEN 1.0)",
        "description": f"For {READS[path].value}.",
        "security": [{"bearer": []}],
        "parameters": [],
        "requestBody": _json_body(_named(asked), examples.ASKED[id]),
        "responses": {
            "202" if is_taken else "200": {
                "description": "It is taken" if is_taken else "The answer",
                "content": _json(_named(answer), examples.TOLD[id]),
            },
            **_problems((*EVALUATION_PROBLEMS, *((404, 409, 410, 422) if is_taken else ()))),
        },
    }


def _named(schema: type) -> Document:
    return {"$ref": f"#/components/schemas/{schema.__name__}"}


def _problems(statuses: tuple[int, ...]) -> dict[str, Document]:
    content = {
        "application/problem+json": {
            "schema": {"$ref": "#/components/schemas/Problem"},
            "example": examples.PROBLEM,
        }
    }
    found: dict[str, Document] = {
        str(status): {"description": PROBLEMS[status], "content": content} for status in sorted({*statuses, *ANYWHERE})
    }
    if "429" in found:
        seconds = {"description": "Seconds to wait", "schema": {"type": "integer", "minimum": 1}}
        found["429"] = {**found["429"], "headers": {"Retry-After": seconds}}
    return found


def _answer_content() -> Document:
    return _json({"$ref": "#/components/schemas/CommandAnswer"}, examples.ANSWER)


def _json(schema: Document, example: Any) -> Document:
    return {"application/json": {"schema": schema, "example": example}}


def _json_body(schema: Document, example: Any) -> Document:
    return {"required": True, "content": _json(schema, example)}


def _text_header(description: str) -> Document:
    return {"description": description, "schema": {"type": "string"}}


def _operation_id(path: str, method: str) -> str:
    return method + "".join(part.title() for part in re.split(r"[^a-z0-9]+", path.removeprefix(PREFIX)) if part)


# The page


def page(document: Document) -> str:
    """The document as a page that needs nothing from elsewhere, not even a script."""
    environment = Environment(
        loader=PackageLoader("services.http", "."),
        autoescape=select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    groups: dict[str, list[Document]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            groups.setdefault(operation["tags"][0], []).append({"method": method, "path": path, **operation})
    return environment.get_template("page.html").render(
        title=document["info"]["title"],
        introduction=document["info"]["description"],
        groups=groups,
        schemas=document["components"]["schemas"],
        pretty=_pretty,
    )


def _pretty(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


__all__ = ["commands", "describe", "page", "router"]
