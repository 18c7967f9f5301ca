"""Does a receipt verify offline, and is the first thing wrong with it named?"""

from base64 import b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.log import merkle, note
from services.log.merkle import Frontier, leaf_hash
from services.log.note import Checkpoint
from services.log.receipt import first_wrong
from tests.services.log.test_merkle import naive_root, nodes_of

LOG = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
ORIGIN = "assent.localhost/log"
KEY = note.verifier_of(ORIGIN, LOG)
RECORDS = [b'{"position":%d,"stream":"request-1"}' % position for position in range(11)]
LEAVES = [leaf_hash(record) for record in RECORDS]
POSITION, SIZE = 6, 11


def base64(value: bytes) -> str:
    return b64encode(value).decode()


def checkpoint(size: int = SIZE, key: Ed25519PrivateKey = LOG, origin: str = ORIGIN) -> str:
    return str(note.sign(str(Checkpoint(origin, size, naive_root(LEAVES[:size]))), ORIGIN, key))


def case(**changes: Any) -> dict[str, Any]:
    """What the holder of a true receipt has in hand, but for these changes; dotted names change a part."""
    hashes = merkle.inclusion_proof(POSITION, SIZE, nodes_of(LEAVES, merkle.inclusion_needs(POSITION, SIZE)))
    leaf = base64(LEAVES[POSITION])
    found: dict[str, Any] = {
        "record": RECORDS[POSITION],
        "receipt": {"position": POSITION, "leaf": leaf, "size": 8},
        "proof": {
            "position": POSITION, "leaf": leaf, "size": SIZE, "root": base64(naive_root(LEAVES)),
            "hashes": [base64(each) for each in hashes], "checkpoint": "elsewhere",
        },
        "checkpoint": checkpoint(),
        "key": KEY,
    }  # fmt: skip
    for name, value in changes.items():
        whole, dot, part = name.partition("__")
        if dot:
            found[whole][part] = value
        else:
            found[whole] = value
    return found


def test_a_true_receipt_has_nothing_wrong() -> None:
    assert Frontier().root() != naive_root(LEAVES)
    assert first_wrong(**case()) is None


def test_whoever_may_not_read_the_record_verifies_its_leaf() -> None:
    assert first_wrong(**case(record=None)) is None


ANOTHER = base64(leaf_hash(b"another"))


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"checkpoint": checkpoint(key=OTHER)}, "not signed by the log's key"),
        ({"checkpoint": checkpoint().replace("11", "12")}, "not signed by the log's key"),
        ({"checkpoint": checkpoint(origin="other.localhost/log")}, "of the log other.localhost/log"),
        ({"checkpoint": "no note"}, "A note is a text"),
        ({"key": note.verifier_of(ORIGIN, OTHER)}, "not signed by the log's key"),
        ({"record": RECORDS[5]}, "does not hash to the receipt's leaf"),
        ({"receipt__leaf": ANOTHER}, "does not hash to the receipt's leaf"),
        ({"receipt__leaf": ANOTHER, "record": None}, "another position or leaf"),
        ({"receipt__leaf": ANOTHER, "proof__leaf": ANOTHER, "record": None}, "leads to another root"),
        ({"receipt__leaf": ANOTHER, "proof__leaf": ANOTHER, "record": b"another"}, "it names no position"),
        ({"receipt__position": 5}, "says that it is at position 6"),
        ({"receipt__position": 5, "record": None}, "another position or leaf"),
        ({"receipt__position": 5, "proof__position": 5, "record": None}, "leads to another root"),
        ({"receipt__position": -1, "record": None}, "not in a log of its size"),
        ({"receipt__size": 6}, "not in a log of its size"),
        ({"receipt__size": 12}, "older than the receipt"),
        ({"checkpoint": checkpoint(7)}, "older than the receipt"),
        ({"checkpoint": checkpoint(10)}, "another size or root than the checkpoint's"),
        ({"proof__root": base64(naive_root(LEAVES[:10]))}, "another size or root than the checkpoint's"),
        ({"proof__hashes": []}, "too short"),
        ({"proof__hashes": [ANOTHER] * 4}, "leads to another root"),
        ({"proof__hashes": [ANOTHER] * 5}, "too long"),
        ({"proof__hashes": ["AAAA"] * 4}, "32 bytes long"),
        ({"proof__hashes": ["é"]}, "not base64"),
        ({"proof__size": "11"}, "The proof is malformed"),
        ({"receipt": {}}, "The receipt is malformed"),
    ],
)
def test_the_first_thing_wrong_is_named(changes: dict[str, Any], wrong: str) -> None:
    found = first_wrong(**case(**changes))
    assert found is not None and wrong in found
