"""What do the tests of log and signer start from?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from services.log.folder import SignerFolder
from tests.conftest import fresh_database
from tests.services.log.grown import ORIGIN
from tests.tampering.history import SignedLog, lived, signed


@pytest.fixture
def conn(database: str) -> Iterator[Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> SignerFolder:
    return SignerFolder(tmp_path / "signer", ORIGIN)


@pytest.fixture(scope="module")
def signed_log(postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SignedLog]:
    """About nine hundred records; a checkpoint for every hundred or so. Whoever changes it puts it back."""
    folder = SignerFolder(tmp_path_factory.mktemp("signed") / "signer", ORIGIN)
    for conninfo in fresh_database(postgres, template):
        yield signed(conninfo, folder, lived("export", 1_200), 100)
