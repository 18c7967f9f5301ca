"""Which orders stop access, whom do they exempt, and did two people lift them? I11, I16."""

from dataclasses import dataclass
from typing import Any

from tests.simulation.books import Entry, Violation

LISTS = ("releases", "providers", "organizations", "person_classes")


@dataclass(slots=True)
class Directive:
    organization: str
    scope: dict[str, list[str]]
    carve_outs: dict[str, list[str]]
    proposer: frozenset[str] | None = None
    lifted: bool = False

    def stops(self, use: dict[str, Any], provider: str) -> bool:
        """In every list of the scope and in none of the carve-outs; an unknown class is in any scope."""
        bodies = {body for body in (use["customer"], use["affiliate"]) if body}
        mine = {
            "releases": {use["release"]},
            "providers": {provider},
            "organizations": bodies,
            "person_classes": {use["person_class"]} if use["person_class"] else set(),
        }
        if any(mine[name] & set(self.carve_outs[name]) for name in LISTS):
            return False
        unknown = use["person_class"] is None
        return all(
            not self.scope[name] or mine[name] & set(self.scope[name]) or (name == "person_classes" and unknown)
            for name in LISTS
        )


class Directives:
    """Folds the streams of directives."""

    def __init__(self) -> None:
        self.all: dict[str, Directive] = {}

    def of(self, id: str) -> Directive:
        if id not in self.all:
            raise Violation("§2", f"there is no directive {id}")
        return self.all[id]

    def take(self, entry: Entry) -> None:
        data = entry.data
        if entry.type == "DirectiveIssued":
            if not any(data["scope"][name] for name in LISTS):
                raise Violation("§2", "a directive without a scope")
            self.all[entry.id] = Directive(entry.organization, data["scope"], data["carve_outs"])
            return
        here = self.of(entry.id)
        if here.lifted:
            raise Violation("I11", f"{entry.type} after the directive was lifted")
        match entry.type:
            case "DirectiveEased":
                if any(data["carve_outs"][name] for name in LISTS if name != "organizations"):
                    raise Violation("I11", "easing exempts named organizations, and nothing else")
                added = data["carve_outs"]["organizations"]
                here.carve_outs = {**here.carve_outs, "organizations": [*here.carve_outs["organizations"], *added]}
            case "LiftingProposed":
                here.proposer = frozenset(entry.people)
            case "LiftingWithdrawn":
                here.proposer = None
            case "DirectiveLifted":
                if here.proposer is None or here.proposer & entry.people:
                    raise Violation("I16", "a directive was lifted by one person")
                here.lifted = True
