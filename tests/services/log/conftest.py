"""What do the tests of log and signer start from?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from services.log.folder import SignerFolder
from tests.services.log.grown import ORIGIN


@pytest.fixture
def conn(database: str) -> Iterator[Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> SignerFolder:
    return SignerFolder(tmp_path / "signer", ORIGIN)
