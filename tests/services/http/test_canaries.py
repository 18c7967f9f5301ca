"""Is anything that a caller sent, or that lets somebody in, in what a process says, whatever goes wrong?"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from services.http.identity import DevelopmentIssuer
from services.settings import Settings
from tests.services.http.conftest import ORGANIZATIONS
from tests.services.http.identity_provider import AUDIENCE, CLIENT, SECRET, IdentityProvider
from tests.services.http.test_app import until_served

ROOT = Path(__file__).parents[3]
LOGIN = "assent_canaries"
PASSWORD = "pw-canary/and?more"
_keys = count()


@dataclass
class Process:
    """A service as an operator runs it, whose stderr is nobody's terminal; `problems` are its refusals."""

    address: str
    conninfo: str
    issuer: DevelopmentIssuer
    process: "subprocess.Popen[bytes]"
    log: Path
    planted: set[str] = field(default_factory=set)
    problems: list[httpx.Response] = field(default_factory=list)

    def plant(self, where: str) -> str:
        """A secret of that place, which must not come out anywhere."""
        self.planted.add(canary := f"canary-{where}-7f3a")
        return canary

    def token(self, person: str) -> str:
        self.planted.add(token := self.issuer.issue(person))
        return token

    def send(self, method: str, path: str, expected: int, **given: Any) -> httpx.Response:
        """A request in which every header that may hold a secret does."""
        usual = {
            "authorization": f"Bearer {self.token('root')}",
            "cookie": f"assent-development={self.plant('cookie')}",
            "idempotency-key": f"{self.plant('key')}-{next(_keys)}",
            "x-csrf-token": self.plant("csrf"),
            "x-request-id": self.plant("id") + '"{}"',
            "user-agent": self.plant("agent"),
            "referer": f"http://x/{self.plant('referer')}",
        }
        headers = {name: value for name, value in {**usual, **given.pop("headers", {})}.items() if value is not None}
        response = httpx.request(method, self.address + path, headers=headers, timeout=30, **given)
        assert response.status_code == expected, response.text
        if expected >= 400:
            self.problems.append(response)
        return response

    def raw(self, given: bytes) -> bytes:
        where = urlsplit(self.address)
        with socket.create_connection((where.hostname, where.port), timeout=10) as connection:  # type: ignore[arg-type]
            connection.sendall(given)
            return connection.recv(65_536)

    def do(self, *statements: str) -> None:
        with psycopg.connect(self.conninfo, autocommit=True) as conn:
            for each in statements:
                conn.execute(sql.SQL(each))  # type: ignore[arg-type]

    def said(self) -> str:
        return self.log.read_text()


@pytest.fixture
def process(database: str, tmp_path: Path, provider: IdentityProvider) -> Iterator[Process]:
    (tmp_path / "secret").write_text(SECRET)
    known = {
        "issuer": provider.issuer,
        "audience": AUDIENCE,
        "client_id": CLIENT,
        "client_secret_file": str(tmp_path / "secret"),
    }
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(f"DROP ROLE IF EXISTS {LOGIN}")
        conn.execute(sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}").format(sql.Identifier(LOGIN), PASSWORD))
    place = conninfo_to_dict(database)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ASSENT_", "DATABASE_"))}
    url = f"postgresql://{LOGIN}:{quote(PASSWORD, safe='')}@/{place['dbname']}?host={quote(str(place['host']))}"
    environment |= {
        "ASSENT_DATA": str(tmp_path / "data"),
        "DATABASE_URL": url,
        "ASSENT_PORT": "0",
        "ASSENT_ACCESS_LOG": "on",
        "ASSENT_ISSUERS": json.dumps([known]),
    }
    log = tmp_path / "stderr"
    with log.open("wb") as stderr:
        command = [sys.executable, "-m", "services.cli", "serve"]
        begun = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=stderr)
    try:
        assert begun.stdout is not None
        served = next((line for line in begun.stdout if b"Assent serves" in line), b"")
        address = re.search(r"http://[\d.:]+", served.decode())
        assert address is not None, log.read_text()
        issuer = DevelopmentIssuer(Settings(data=tmp_path / "data"))
        found = Process(address[0], database, issuer, begun, log)
        found.planted |= {PASSWORD, quote(PASSWORD, safe=""), SECRET}
        root = {"authorization": f"Bearer {found.token('root')}"}
        for path in ("requests", "organizations"):  # whose projections are built first
            assert until_served(lambda: httpx.get(f"{found.address}/api/v1/{path}", headers=root)).status_code == 200  # noqa: B023
        yield found
    finally:
        begun.kill()
        begun.wait()
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute(f"DROP OWNED BY {LOGIN}")
            conn.execute(f"DROP ROLE {LOGIN}")


def refused_in_every_way(process: Process, provider: IdentityProvider) -> None:
    send, plant = process.send, process.plant
    organization = {**ORGANIZATIONS[2], "id": "oncd"}
    send("POST", "/api/v1/organizations", 201, json=organization)
    send("POST", "/api/v1/organizations", 409, json=organization)
    send("POST", "/api/v1/organizations", 422, json={**organization, "name": {"x": plant("field")}})
    send("POST", "/api/v1/organizations", 422, json={**organization, "country": plant("country") * 3})
    send("POST", "/api/v1/requests", 422, json={"use": plant("sealed"), "customer": 1})
    send("POST", "/api/v1/requests", 403, json={"use": plant("text"), "customer": "nobody", "release": "none"})
    for malformed in (b'{"name": "%b', b'{"name" "%b"}', b'\xff{"%b"}'):
        body = malformed % plant("json").encode()
        send("POST", "/api/v1/organizations", 400, content=body, headers={"content-type": "application/json"})
    send("POST", "/api/v1/organizations", 413, json={"name": plant("large") * 40_000})
    send("POST", "/api/v1/organizations", 415, content=plant("form"), headers={"content-type": "text/plain"})
    send("POST", f"/api/v1/organizations?dry_run={plant('dry')}", 400, json=organization)
    for name in ("if-match", "acting-as", "occurred-at"):
        status = 403 if name == "occurred-at" else 400
        send("POST", "/api/v1/organizations", status, json=organization, headers={name: plant(name)})
    send("GET", f"/api/v1/{plant('path')}", 404)
    send("GET", f"/api/v1/requests/{plant('request')}", 404)
    send("GET", f"/api/v1/requests?at={plant('at')}&cursor={plant('cursor')}", 400)
    send("GET", f"/api/v1/requests?{plant('name')}=1", 400)
    send("POST", "/api/v1/organizations", 422, json={**organization, plant("name"): plant("value")})
    send("DELETE", "/api/v1/requests", 405)
    for authorization in (
        f"Bearer {plant('token')}",
        f"Basic {plant('basic')}",
        f"Bearer assent_{'0' * 26}_{plant('secret')}",
        None,
    ):
        send("GET", "/api/v1/requests", 401, headers={"authorization": authorization})
        send("POST", "/api/v1/organizations", 401, json=organization, headers={"authorization": authorization})
    send("GET", f"/login/callback?state={plant('state')}&code={plant('code')}", 400)
    send("GET", f"/login?to=/{plant('to')}%0d%0ax", 400)
    send("GET", f"/login?with={plant('with')}", 400)
    away = httpx.get(f"{process.address}/login?with={provider.issuer}")
    process.planted |= {each for each in (away.cookies.get("assent-development-login"),) if each}
    send("POST", "/access/v1/evaluation", 400, json={"subject": {"type": plant("type"), "id": plant("subject")}})
    for given in (b"GET / HTTP/1.1\r\na %b: %b\r\n\r\n", b"%b %b\r\n\r\n"):
        assert b" 400 " in process.raw(given % (plant("raw").encode(), plant("wire").encode()))
    assert b" 431 " in process.raw(b"GET / HTTP/1.1\r\nX: %b\r\n\r\n" % (plant("head").encode() * 3000))


def failed_in_every_way(process: Process) -> list[httpx.Response]:
    """With tables gone, and then with no database at all."""
    text = {"customer": "northwind", "release": "none", "use": process.plant("broken")}
    process.do("ALTER TABLE event RENAME TO hidden_event")
    failed = [process.send("GET", f"/api/v1/events?person={process.plant('gone')}", 500)]
    process.do("ALTER TABLE hidden_event RENAME TO event", "ALTER SCHEMA vault RENAME TO hidden_vault")
    stranger = {"authorization": f"Bearer {process.token('nina')}"}  # for whom a key is to be made
    failed.append(process.send("POST", "/api/v1/requests", 500, json=text, headers=stranger))
    process.do("ALTER SCHEMA hidden_vault RENAME TO vault", "ALTER FUNCTION append RENAME TO hidden_append")
    organization = {**ORGANIZATIONS[4], "name": process.plant("unwritten")}
    process.send("POST", "/api/v1/organizations", 503, json=organization)
    process.do("ALTER FUNCTION hidden_append RENAME TO append")
    name = conninfo_to_dict(process.conninfo)["dbname"]
    with psycopg.connect(process.conninfo, dbname="postgres", autocommit=True) as conn:
        conn.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        try:
            process.send("GET", "/api/v1/organizations", 503)
            process.send("POST", "/api/v1/organizations", 503, json={**ORGANIZATIONS[3], "name": process.plant("down")})
            time.sleep(1)  # whoever looks after the database says so
        finally:
            conn.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    return failed


def test_no_secret_is_in_any_line_or_problem_whatever_goes_wrong(
    process: Process, provider: IdentityProvider, shared_folder: Path
) -> None:
    refused_in_every_way(process, provider)
    failed = failed_in_every_way(process)
    process.process.send_signal(signal.SIGINT)
    assert process.process.wait(30) is not None
    text, server = process.said(), (shared_folder / "data" / "postgres" / "server.log").read_text()
    assert 'relation "event" does not exist' in server, "which logs the statements that failed"
    assert [each for each in process.planted if each in text + server] == []
    lines = [json.loads(line) for line in text.splitlines()]
    assert {"time", "level", "logger", "process", "message"} <= set.intersection(*(set(line) for line in lines))
    asked = [line for line in lines if line["logger"] == "services.http.access_log"]
    assert {400, 401, 404, 405, 409, 413, 415, 422, 500, 503} <= {line["status"] for line in asked}
    conflict = next(line for line in asked if line["status"] == 409)  # which needed no task
    answered = next(each for each in process.problems if each.status_code == 409)
    assert (conflict["route"], conflict["person"]) == ("/api/v1/organizations", "root")
    assert (conflict["request_id"], conflict["duration_ms"] > 0) == (answered.headers["x-request-id"], True)
    for response in failed:
        id = response.headers["x-request-id"]
        errors = [line for line in lines if line.get("request_id") == id and line["level"] == "ERROR"]
        assert errors and errors[0]["person"] in ("root", "nina") and errors[0]["route"].startswith("/api/v1/"), id
        assert any("SQLSTATE 42P01" in step for step in errors[0]["trace"])
    for response in process.problems:
        echoed = {each for each in process.planted if each in response.text}
        assert echoed <= {process.plant("name")}, "a name that they made up is told back to them, but no value"


@pytest.mark.parametrize("url", ["//assent:{}@localhost:1/x", "//assent:{}/x@localhost/x", "//assent:1{}@@h:x/x"])
def test_no_password_is_told_where_the_database_cannot_be_used(url: str, tmp_path: Path) -> None:
    environment = {"ASSENT_DATA": str(tmp_path), "DATABASE_URL": f"postgresql:{url.format('pwcanary')}", "PATH": ""}
    command = [sys.executable, "-m", "services.cli", "serve"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "DATABASE_URL" in done.stderr
    assert "pwcanary" not in done.stdout + done.stderr
