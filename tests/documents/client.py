"""What does the client's `surface.py` say? Every command and query, from the description that the service gives."""

import re
from collections.abc import Iterator
from keyword import iskeyword
from typing import Any

from services.http.commands import COMMANDS, PREFIX

Document = dict[str, Any]

NOT_ASKED = {"/access/v1/feed", "/docs", "/docs/page.css", "/login", "/login/callback", "/session"}
"""The gate follows the first; the others are for browsers."""

HEAD = '''
"""What can be asked of Assent? Every command, query and question, typed.

Written by `./run docs` from the description that the service gives; a test compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NotRequired, TypedDict

from assent_client.calls import Command, Pages, Query, Question
'''

FRAME = "@dataclass(frozen=True, slots=True, kw_only=True)"


def surface(document: Document) -> str:
    """The whole module, before it is formatted."""
    shapes = document["components"]["schemas"]
    calls = [
        (path, method, operation)
        for path, item in sorted(document["paths"].items())
        for method, operation in item.items()
        if path not in NOT_ASKED and path != "/api/v1/development/clock"
    ]
    text = "\n\n".join(_call(path, method, operation, shapes) for path, method, operation in calls)
    return "\n\n".join([HEAD.strip() + "\n", *_shapes(text, shapes), text]) + "\n"


def _call(path: str, method: str, operation: Document, shapes: Document) -> str:
    name = operation["operationId"][0].upper() + operation["operationId"][1:]
    parameters = [each for each in operation.get("parameters", ()) if each["in"] in ("path", "query")]
    held = [(each["name"], each["schema"], each.get("required", False)) for each in parameters]
    if method == "post":
        kind = "Command" if path.removeprefix(PREFIX) in COMMANDS or path == "/access/v1/requests" else "Question"
        body = _resolved(operation["requestBody"]["content"]["application/json"]["schema"], shapes)
        held = [each for each in held if each[0] in re.findall(r"\{(\w+)\}", path)]
        held += [
            (field, schema, field in body.get("required", ())) for field, schema in body.get("properties", {}).items()
        ]
    else:
        kind = "Pages" if any(each[0] == "cursor" for each in held) else "Query"
    lines = [f"class {name}({kind}[{_answer(operation)}]):", f'    """{operation["summary"].strip()}."""', ""]
    lines.append(f'    PATH: ClassVar[str] = "{path}"')
    for field, schema, required in sorted(held, key=lambda each: not each[2]):
        shown = f"{field}_" if iskeyword(field) else field
        kind_of_field = type_of(schema)
        optional = "" if required else (" = None" if kind_of_field.endswith("| None") else " | None = None")
        lines.append(f"    {shown}: {kind_of_field}{optional}")
    return "\n".join([FRAME, *lines])


def _answer(operation: Document) -> str:
    for status in ("201", "200", "202"):
        content = operation["responses"].get(status, {}).get("content", {})
        if "application/json" in content:
            found = type_of(content["application/json"].get("schema", {}))
            return "dict[str, Any]" if found == "Any" else found
    return "Any"


def _resolved(schema: Document, shapes: Document) -> Document:
    found: Document = shapes[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found


def type_of(schema: Document) -> str:
    """A schema as a type that a reader and a type checker understand."""
    if "$ref" in schema:
        return _word(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return f"Literal[{', '.join(repr(each) for each in schema['enum'])}]".replace("'", '"')
    if "const" in schema:
        return f'Literal["{schema["const"]}"]'
    for several in ("anyOf", "oneOf"):
        if several in schema:
            kinds = dict.fromkeys(type_of(each) for each in schema[several])
            return " | ".join(sorted(kinds, key=lambda kind: kind == "None"))
    if schema.get("type") == "array":
        return f"list[{type_of(schema.get('items', {}))}]"
    if schema.get("type") == "object":
        return "dict[str, Any]"
    if isinstance(schema.get("type"), list):
        return type_of({"anyOf": [{"type": each} for each in schema["type"]]})
    plain = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
    return plain.get(schema.get("type", ""), "Any")


def _word(name: str) -> str:
    return "".join(part[0].upper() + part[1:] for part in re.split(r"[._]", name.removeprefix("services.http.")))


def _shapes(text: str, shapes: Document) -> Iterator[str]:
    """What bodies and answers are made of, as far as the calls name it."""
    words = {_word(name): name for name in shapes}
    named, waiting = {}, [text]
    while waiting:
        for word in re.findall(r"\w+", waiting.pop()):
            if word in words and word not in named and f"class {word}(" not in text:
                named[word] = _shape(word, shapes[words[word]])
                waiting.append(named[word])
    for word in sorted(named, key=lambda each: (not named[each].startswith(f"{each} ="), each)):
        yield named[word]


def _shape(word: str, schema: Document) -> str:
    if "properties" not in schema:
        return f"{word} = dict[str, Any]"
    required = schema.get("required", ())
    fields = {
        field: type_of(each) if field in required else f"NotRequired[{type_of(each)}]"
        for field, each in schema["properties"].items()
    }
    if any(map(iskeyword, fields)):
        lines = [f'    "{field}": "{kind}",'.replace("'", '"') for field, kind in fields.items()]
        return "\n".join([f"{word} = TypedDict(", f'    "{word}",', "    {", *lines, "    },", ")"])
    return "\n".join([f"class {word}(TypedDict):", *(f"    {field}: {kind}" for field, kind in fields.items())])
