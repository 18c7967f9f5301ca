"""Does what is installed have known holes, and is it what the locks pin? `./run audit`."""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
ENVIRONMENT = ROOT / "requirements.lock"
LOCKS = (ENVIRONMENT, ROOT / "requirements-runtime.lock")
SECONDS_MAX = 600

_PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;\\]+)(?:\s*;\s*(?P<marker>[^\\]+))?\s*\\?")


class CouldNotAsk(Exception):
    """Nobody answered, or a lock cannot be read; the message says what would help."""


@dataclass(frozen=True, slots=True)
class Pin:
    """A package at the version that a lock asks for; `marker`: on which machines."""

    name: str
    version: str
    marker: str

    @property
    def is_for_here(self) -> bool:
        return not self.marker or Marker(self.marker).evaluate()


@dataclass(frozen=True, slots=True)
class Finding:
    """A known hole: its advisory, other names of that, and the versions that mend it."""

    package: str
    version: str
    advisory: str
    aliases: tuple[str, ...]
    fixed_in: tuple[str, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class Audit:
    """What was asked and answered: `unasked` are pins of which the advisory service does not know anything, with why;
    `differences` is where the environment is not what its lock pins.
    """

    pins: int
    findings: tuple[Finding, ...]
    unasked: Mapping[str, str]
    differences: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        return 1 if self.findings or self.differences else 2 if self.unasked else 0


def pins_of(lock: Path) -> Iterator[Pin]:
    """What a lock pins, for every machine. Raises CouldNotAsk where a line pins nothing."""
    try:
        lines = lock.read_text().splitlines()
    except OSError as error:
        raise CouldNotAsk(f"{lock.name} cannot be read: {error.strerror}.") from error
    for line in lines:
        if not line.strip() or line.startswith((" ", "\t", "#")):
            continue
        found = _PIN.fullmatch(line)
        if found is None:
            raise CouldNotAsk(f"{lock.name} does not pin one version here: {line}")
        yield Pin(canonicalize_name(found["name"]), found["version"], (found["marker"] or "").strip())


def known_holes(pins: Sequence[Pin], service: Sequence[str]) -> tuple[tuple[Finding, ...], dict[str, str]]:
    """What pip-audit learns about every pin, also of those for other machines; and of which it learnt nothing, and why.

    `service`: pip-audit's options that name whom to ask. Raises CouldNotAsk.
    """
    versions: dict[str, list[str]] = {}
    for pin in sorted(set(pins), key=lambda pin: (pin.name, pin.version)):
        if pin.version not in versions.setdefault(pin.name, []):
            versions[pin.name].append(pin.version)
    answered: list[Any] = []
    for nth in range(max(map(len, versions.values()), default=0)):  # a file may pin one version of a package
        asked = [f"{name}=={found[nth]}" for name, found in versions.items() if len(found) > nth]
        answered += _answers(asked, service)
    findings = tuple(
        Finding(
            each["name"],
            each["version"],
            hole["id"],
            tuple(hole["aliases"]),
            tuple(hole["fix_versions"]),
            hole["description"],
        )
        for each in answered
        for hole in each.get("vulns", ())
    )
    return findings, {each["name"]: each["skip_reason"] for each in answered if "skip_reason" in each}


def _answers(asked: Sequence[str], service: Sequence[str]) -> list[Any]:
    with tempfile.TemporaryDirectory(prefix="assent-audit-") as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text("\n".join(asked) + "\n")
        options = ["--requirement", str(requirements), "--no-deps", "--disable-pip", "--format", "json"]
        options += ["--progress-spinner", "off", "--cache-dir", folder, *service]
        try:
            ran = subprocess.run(
                [sys.executable, "-P", "-m", "pip_audit", *options],
                capture_output=True,
                text=True,
                timeout=SECONDS_MAX,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise CouldNotAsk(f"The advisory service did not answer in {SECONDS_MAX} seconds.") from error
    try:
        found: list[Any] = json.loads(ran.stdout)["dependencies"]
    except ValueError:
        words = ran.stderr.strip().splitlines()
        raise CouldNotAsk(f"The advisory service could not be asked: {words[-1] if words else 'no word'}") from None
    return found


def differences(pins: Sequence[Pin], installed: Mapping[str, str]) -> Iterator[str]:
    """Where what is installed is not what is pinned for this machine, in words."""
    wanted = {pin.name: pin.version for pin in pins if pin.is_for_here}
    for name in sorted({*wanted, *installed}):
        match wanted.get(name), installed.get(name):
            case version, found if version == found:
                continue
            case version, None:
                yield f"{name} {version} is pinned, and not installed"
            case None, found:
                yield f"{name} {found} is installed, and not pinned"
            case version, found:
                yield f"{name} {found} is installed, where {version} is pinned"


def installed_here() -> dict[str, str]:
    return {canonicalize_name(found.metadata["Name"]): found.version for found in distributions()}


def audit(locks: Sequence[Path], service: Sequence[str]) -> Audit:
    """Ask about everything that the locks pin, and compare the environment with its own. Raises CouldNotAsk."""
    pins = sorted({pin for lock in locks for pin in pins_of(lock)}, key=lambda pin: (pin.name, pin.version))
    differ = tuple(differences(list(pins_of(ENVIRONMENT)), installed_here()))
    return Audit(len({(pin.name, pin.version) for pin in pins}), *known_holes(pins, service), differ)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="run audit", description=__doc__)
    found.add_argument("--lock", type=Path, action="append", metavar="FILE", help="what to ask about (both locks)")
    found.add_argument("--service", choices=["pypi", "osv"], default="pypi", help="whose advisories (pypi)")
    found.add_argument("--osv-url", metavar="URL", help="where OSV is asked, for a mirror of your own")
    found.add_argument("--json", action="store_true", help="print one object")
    return found


def command(arguments: Sequence[str]) -> int:
    """Ask and tell: 0 nothing is known against it; 1 a hole, or another environment than the lock's; 2 it could not be
    asked, or not about everything.
    """
    given = parser().parse_args(arguments)
    service = ["--vulnerability-service", given.service]
    if given.osv_url:
        service += ["--osv-url", given.osv_url]
    try:
        found = audit(given.lock or LOCKS, service)
    except CouldNotAsk as no:
        sys.stderr.write(f"{no}\n")
        return 2
    sys.stdout.write(json.dumps(asdict(found)) + "\n" if given.json else as_text(found))
    return found.exit_code


def as_text(found: Audit) -> str:
    lines = []
    for each in found.findings:
        names = ", ".join([each.advisory, *each.aliases])
        lines.append(f"{each.package} {each.version}: {names}; fixed in {', '.join(each.fixed_in) or 'no version yet'}")
        lines.append(f"  {each.sentence}")
    lines += [f"The environment: {each}" for each in found.differences]
    if found.unasked:
        lines.append(f"Of {len(found.unasked)} of {found.pins} packages the advisory service says nothing; the first:")
        lines.append(f"  {next(iter(found.unasked.values()))}")
    elif not lines:
        lines.append(f"Nothing is known against {found.pins} packages, and the environment is what its lock pins.")
    return "\n".join([*lines, ""])
