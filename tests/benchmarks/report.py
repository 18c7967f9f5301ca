"""What does a benchmark tell, to a program and to a person?"""

import sys
from dataclasses import asdict, dataclass, field
from typing import Any


class Unmeasured(Exception):
    """What was to be measured went wrong, so there is no number; the message says how."""


@dataclass
class Report:
    """`ratios` are ours ÷ theirs, in rate; `missing` names the peers that could not be had, and why.

    `holds`: whether the figures bear out what they were to show. It is not printed; it is the exit code.
    """

    figures: dict[str, Any] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    holds: bool = True

    def as_object(self) -> dict[str, Any]:
        found = asdict(self)
        del found["holds"]
        return found


def as_text(report: Report) -> str:
    """One line for each number, those of one table indented under its name."""
    lines = list(_lines(report.figures, ""))
    lines += [f"{name} {ratio}" for name, ratio in report.ratios.items()]
    lines += [f"missing: {each}" for each in report.missing]
    return "\n".join(lines)


def _lines(figures: dict[str, Any], indent: str) -> list[str]:
    lines: list[str] = []
    for name, figure in figures.items():
        if not isinstance(figure, dict):
            lines.append(f"{indent}{name} {figure}")
        elif any(isinstance(part, dict) for part in figure.values()):
            lines += [f"{indent}{name}", *_lines(figure, indent + "  ")]
        else:
            lines.append(f"{indent}{name}: " + ", ".join(f"{part} {value}" for part, value in figure.items()))
    return lines


def progress(words: str) -> None:
    """Say what is being measured, to a person at a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"{words}\n")
