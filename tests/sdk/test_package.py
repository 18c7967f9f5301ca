"""Can the client be installed by itself, and is what it carries of the domain the domain's?"""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "sdk" / "python"


def test_the_client_decides_by_the_very_file_that_the_service_decides_by() -> None:
    theirs, ours = ROOT / "domain" / "access.py", CLIENT / "assent_client" / "access.py"
    assert ours.read_bytes() == theirs.read_bytes(), "cp domain/access.py sdk/python/assent_client/access.py"


def test_the_client_needs_what_its_project_names_and_nothing_of_the_server() -> None:
    """Imported where nothing else can be: the folder of the client, and the packages it names."""
    say = "import sys, assent_client; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    environment = {**os.environ, "PYTHONPATH": str(CLIENT)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", say], env=environment, capture_output=True, text=True, check=True, cwd=CLIENT
    )
    assert not {"domain", "projections", "services", "tests", "msgspec", "pydantic"} & set(done.stdout.split())
    named = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert named == ["cryptography", "httpx"]


def test_the_example_says_how_it_is_started() -> None:
    environment = {**os.environ, "PYTHONPATH": str(CLIENT)}
    done = subprocess.run(
        [sys.executable, "-P", CLIENT / "examples" / "gateway.py", "--help"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--max-staleness" in done.stdout
