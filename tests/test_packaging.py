"""Does a fresh clone install what was locked, and nothing that belongs to one machine?"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from services.demo import PERSONAS
from services.settings import read_settings

ROOT = Path(__file__).parents[1]
SCRIPTS = Path(sys.executable).parent
LOCKS = ("requirements.lock", "requirements-runtime.lock")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

NOT_OURS = {".git", ".venv", ".venv.lock", ".assent", ".hypothesis", "secrets", "node_modules", "build", "dist"}
A_MACHINES_PATH = re.compile(r"(?<![\w.~-])/(?:root|home|Users|wor[k])/[\w.]")
A_REGISTRY = re.compile(r"pypi\.or[g]|pythonhosted\.or[g]|npmjs\.(?:or[g]|co[m])|yarnpkg\.co[m]|extra-index-ur[l]")


def texts() -> Iterator[tuple[str, str]]:
    """Every text file of the project with its content."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [
            each for each in folders if each not in NOT_OURS and not each.endswith("_cache") and each != "__pycache__"
        ]
        for name in names:
            try:
                yield str(Path(folder, name).relative_to(ROOT)), Path(folder, name).read_text()
            except UnicodeDecodeError:
                continue


def pinned(lock: str) -> dict[str, str]:
    """Package → version."""
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[a-z,]+\])?==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))


def named(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[=<>; ]", each)[0] for each in requirements}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes(lock: str) -> None:
    blocks = re.split(r"^(?=[a-z0-9])", (ROOT / lock).read_text(), flags=re.MULTILINE)[1:]
    assert len(blocks) == len(pinned(lock)) > 30
    assert [block for block in blocks if "--hash=sha256:" not in block] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_no_address(lock: str) -> None:
    assert [line for line in (ROOT / lock).read_text().splitlines() if "://" in line or "-index" in line] == []


def test_the_locks_hold_what_the_project_asks_for_in_the_same_versions() -> None:
    everything, runtime = (pinned(lock) for lock in LOCKS)
    assert named(PROJECT["dependencies"]) <= runtime.keys()
    assert named(PROJECT["optional-dependencies"]["test"]) <= everything.keys()
    assert not named(PROJECT["optional-dependencies"]["test"]) & runtime.keys()
    assert runtime.items() <= everything.items()


def test_no_file_names_a_place_on_one_machine_or_a_registry() -> None:
    found = [
        f"{path}: {match.group()}"
        for path, text in texts()
        for match in (*A_MACHINES_PATH.finditer(text), *A_REGISTRY.finditer(text))
    ]
    assert found == []


def test_the_dockerfile_passes_its_linter() -> None:
    done = subprocess.run(
        [SCRIPTS / "hadolint", "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_compose_file_follows_the_compose_specification() -> None:
    command = [SCRIPTS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", ROOT / "docker-compose.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_services_of_the_compose_file_know_each_other() -> None:
    composed = YAML(typ="safe").load(ROOT / "docker-compose.yml")
    environment = composed["services"]["assent"]["environment"]
    settings = read_settings({"ASSENT_MODE": "production", **environment, "DATABASE_URL_FILE": ""})
    realm = json.loads((ROOT / "deploy" / "realm.json").read_text())
    (issuer,) = settings.issuers
    clients = {each["clientId"]: each for each in realm["clients"]}
    browser = clients[issuer.client_id]
    assert issuer.issuer == f"{composed['services']['identity']['environment']['KC_HOSTNAME']}/realms/{realm['realm']}"
    assert browser["redirectUris"] == [f"{settings.url}/login/callback"]
    assert browser["attributes"]["pkce.code.challenge.method"] == "S256"
    for client in clients.values():
        made = {each["protocolMapper"]: each["config"] for each in client["protocolMappers"]}
        assert made["oidc-audience-mapper"]["included.custom.audience"] == issuer.audience
        assert made["oidc-usermodel-attribute-mapper"]["claim.name"] == issuer.person
        assert client["attributes"]["access.token.header.type.rfc9068"] == "true"
    assert {each["username"] for each in realm["users"]} == {settings.root, *PERSONAS}
    fronts_address = composed["services"]["front"]["networks"]["default"]["ipv4_address"]
    assert settings.proxies == (ip_network(fronts_address),)
    front = (ROOT / "deploy" / "Caddyfile").read_text()
    for address in (settings.url, issuer.issuer.partition("/realms")[0]):
        assert f"\n{address} {{" in front
        assert (
            address.removeprefix("https://").partition(":")[0]
            in (composed["services"]["front"]["networks"]["default"]["aliases"])
        )


def test_no_secret_of_the_compose_file_is_in_the_project() -> None:
    composed = YAML(typ="safe").load(ROOT / "docker-compose.yml")
    files = [each["file"] for each in composed["secrets"].values()] + composed["services"]["identity"]["env_file"]
    ignored = subprocess.run(["git", "check-ignore", *files], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ignored.stdout.split() == files
    realm = (ROOT / "deploy" / "realm.json").read_text()
    assert set(re.findall(r'"(?:secret|value)": "([^"]*)"', realm)) == {"${CLIENT_SECRET}", "${PEOPLES_PASSWORD}"}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A project that needs no package, with our `run`: its command says where it stands and what it was given."""
    (tmp_path / "clone" / "services").mkdir(parents=True)
    shutil.copy(ROOT / "run", tmp_path / "clone" / "run")
    (tmp_path / "clone" / "requirements.lock").write_text("")
    (tmp_path / "clone" / "services" / "cli.py").write_text("import os, sys; print(os.getcwd(), sys.argv[1:])\n")
    return tmp_path / "clone"


def test_run_makes_the_environment_once_also_when_two_start_at_once(clone: Path, tmp_path: Path) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "cli.py").write_text("print('a stranger')\n")
    command = [sys.executable, clone / "run", "play", "a file"]
    both = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outcomes = [process.communicate(timeout=120) for process in both]
    assert [said for said, _ in outcomes] == [f"{tmp_path} ['play', 'a file']\n"] * 2
    assert sorted("Making the environment" in progress for _, progress in outcomes) == [False, True]

    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (again.stdout, again.stderr) == (f"{tmp_path} ['play', 'a file']\n", "")

    (clone / "requirements.lock").write_text("# changed\n")
    changed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "Installing" in changed.stderr
    assert "Making" not in changed.stderr
    packages = next(clone.glob(".venv/lib/python3*/site-packages"))
    assert {found.name.partition("-")[0] for found in packages.glob("*.dist-info")} == {"pip"}


def test_run_says_what_to_install_where_venv_is_missing(clone: Path) -> None:
    (clone / "ensurepip.py").write_text("raise ImportError\n")
    environment = {**os.environ, "PYTHONPATH": str(clone)}
    refused = subprocess.run(
        [sys.executable, clone / "run"], env=environment, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert re.search(r"apt install python3\.\d+-venv", refused.stderr)
    assert "Traceback" not in refused.stderr
