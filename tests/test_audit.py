"""Does the audit tell holes from none, and both from nobody having answered? Asked of a service on this machine."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.audit import ENVIRONMENT, CouldNotAsk, Pin, command, differences, installed_here, pins_of

LOCK = """\
harmless==1.2.3 \\
    --hash=sha256:00
    # via something
Holey_Package==2.0 ; sys_platform == 'win32' \\
    --hash=sha256:01 \\
    --hash=sha256:02
"""
HOLE = {
    "id": "PYSEC-2026-1",
    "aliases": ["CVE-2026-1"],
    "summary": "It lets everybody in",
    "affected": [
        {
            "package": {"name": "holey-package", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.1"}]}],
        }
    ],
}


class Advisories(BaseHTTPRequestHandler):
    """Answers as OSV does: of one version of one package there is an advisory."""

    def do_POST(self) -> None:
        asked: Any = json.loads(self.rfile.read(int(self.headers["content-length"])))
        has_hole = (asked["package"]["name"], asked["version"]) == ("holey-package", "2.0")
        body = json.dumps({"vulns": [HOLE]} if has_hole else {}).encode()
        self.send_response(503 if asked["package"]["name"] == "unanswered" else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the test's own output is enough."""


@pytest.fixture(scope="module")
def advisories() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Advisories) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


def asked(lock: str, folder: Path, url: str) -> int:
    file = folder / "some.lock"
    file.write_text(lock)
    return command(["--lock", str(file), "--service", "osv", "--osv-url", url, "--json"])


def test_a_known_hole_is_told_with_the_version_that_mends_it_on_whatever_machine(
    advisories: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(LOCK, tmp_path, advisories) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding == {
        "package": "holey-package",
        "version": "2.0",
        "advisory": "PYSEC-2026-1",
        "aliases": ["CVE-2026-1"],
        "fixed_in": ["2.1"],
        "sentence": "It lets everybody in",
    }


def test_where_nothing_is_known_the_audit_is_clean(
    advisories: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = asked(LOCK.replace("==2.0", "==2.1"), tmp_path, advisories)
    told = json.loads(capsys.readouterr().out)
    assert (code, told) == (0, {"pins": 2, "findings": [], "unasked": {}, "differences": []})


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1/query", ""])
def test_where_nobody_answers_the_audit_is_not_clean(
    advisories: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    lock = LOCK if url else "unanswered==1.0\n"
    assert asked(lock, tmp_path, url or advisories) == 2
    assert "could not be asked" in capsys.readouterr().err


def test_a_lock_that_does_not_pin_is_not_audited(
    advisories: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked("harmless>=1.2\n", tmp_path, advisories) == 2
    assert "harmless>=1.2" in capsys.readouterr().err
    with pytest.raises(CouldNotAsk, match="cannot be read"):
        list(pins_of(tmp_path / "nothing.lock"))


def test_an_environment_that_is_not_what_is_pinned_is_told() -> None:
    pins = [Pin("a", "1", ""), Pin("b", "1", ""), Pin("c", "1", ""), Pin("w", "1", "sys_platform == 'win32'")]
    assert list(differences(pins, {"a": "1", "b": "2", "d": "1"})) == [
        "b 2 is installed, where 1 is pinned",
        "c 1 is pinned, and not installed",
        "d 1 is installed, and not pinned",
    ]


def test_this_environment_is_what_its_lock_pins() -> None:
    assert list(differences(list(pins_of(ENVIRONMENT)), installed_here())) == []
