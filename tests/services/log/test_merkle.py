"""Is it RFC 6962, and does nothing pass for a proof that is none?"""

import json
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.log import merkle
from services.log.merkle import EMPTY_ROOT, Frontier, Node, ProofRefused, leaf_hash, node_hash

VECTORS = Path(__file__).parents[4] / "shared" / "cases" / "merkle" / "testdata"
SIZES = st.integers(1, 300)


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """MTH, word for word as RFC 6962 §2.1 defines it."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(naive_root(leaves[:split]), naive_root(leaves[split:]))


def leaves_of(size: int) -> list[bytes]:
    return [leaf_hash(b"%d" % nth) for nth in range(size)]


def nodes_of(leaves: Sequence[bytes], needs: set[Node]) -> dict[Node, bytes]:
    return {(level, index): naive_root(leaves[index << level : (index + 1) << level]) for level, index in needs}


@given(SIZES, st.integers(0, 300))
def test_a_frontier_in_steps_has_the_root_of_the_whole(size: int, cut: int) -> None:
    leaves = leaves_of(size)
    tree = Frontier()
    tree.extend(leaves[:cut])
    tree = Frontier(tree.size, bytes(tree))
    tree.extend(leaves[cut:])
    assert (tree.size, tree.root()) == (size, naive_root(leaves))


def test_the_empty_tree_has_the_hash_of_nothing_as_its_root() -> None:
    assert Frontier().root().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_the_roots_are_those_of_other_implementations() -> None:
    """The tree of the eight entries that the RFC's reference implementations are tested with."""
    entries = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    tree, roots = Frontier(), []
    for entry in entries:
        tree.extend([leaf_hash(bytes.fromhex(entry))])
        roots.append(tree.root().hex())
    assert roots[0] == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert roots[1] == "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
    assert roots[7] == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def test_a_frontier_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="3 leaves"):
        Frontier(3, b"\0" * 32)


@given(SIZES, st.data())
def test_an_inclusion_proof_shows_its_leaf_and_no_other(size: int, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, size - 1))
    leaves = leaves_of(size)
    root = naive_root(leaves)
    proof = merkle.inclusion_proof(position, size, nodes_of(leaves, merkle.inclusion_needs(position, size)))
    merkle.verify_inclusion(leaves[position], position, size, root, proof)
    for wrong in damaged(proof):
        with pytest.raises(ProofRefused):
            merkle.verify_inclusion(leaves[position], position, size, root, wrong)
    other = data.draw(st.integers(0, size + 1))
    if other != position:
        with pytest.raises(ProofRefused):
            merkle.verify_inclusion(leaves[position], other, size, root, proof)


@given(SIZES, st.data())
def test_a_consistency_proof_shows_that_the_log_only_grew(size2: int, data: st.DataObject) -> None:
    size1 = data.draw(st.integers(1, size2))
    leaves = leaves_of(size2)
    root1, root2 = naive_root(leaves[:size1]), naive_root(leaves)
    proof = merkle.consistency_proof(size1, size2, nodes_of(leaves, merkle.consistency_needs(size1, size2)))
    merkle.verify_consistency(size1, size2, root1, root2, proof)
    for wrong in damaged(proof):
        with pytest.raises(ProofRefused):
            merkle.verify_consistency(size1, size2, root1, root2, wrong)
    rewritten = naive_root([leaf_hash(b"rewritten"), *leaves[1:]])
    with pytest.raises(ProofRefused):
        merkle.verify_consistency(size1, size2, root1, rewritten, proof)


def damaged(proof: Sequence[bytes]) -> list[list[bytes]]:
    """Too long, too short, and with one bit changed in each hash."""
    found = [[*proof, EMPTY_ROOT], [EMPTY_ROOT, *proof], [*proof, b""]]
    if proof:
        found += [list(proof[:-1]), list(proof[1:])]
    for nth, each in enumerate(proof):
        found.append([*proof[:nth], bytes([each[0] ^ 1]) + each[1:], *proof[nth + 1 :]])
    return found


def test_a_proof_from_the_empty_tree_is_refused() -> None:
    for size2, root2 in ((0, EMPTY_ROOT), (1, leaf_hash(b""))):
        with pytest.raises(ProofRefused, match="empty tree"):
            merkle.verify_consistency(0, size2, EMPTY_ROOT, root2, [])


def test_nothing_is_in_the_empty_tree() -> None:
    with pytest.raises(ProofRefused):
        merkle.verify_inclusion(EMPTY_ROOT, 0, 0, EMPTY_ROOT, [])


@pytest.mark.skipif(not VECTORS.is_dir(), reason="the shared cases are not here")
@pytest.mark.parametrize(
    ("kind", "number"), [("inclusion", 98), ("consistency", 98), ("subtreeinclusion", 204), ("subtreeconsistency", 118)]
)
def test_all_vectors_of_others_are_answered_as_they_say(kind: str, number: int) -> None:
    cases = [json.loads(path.read_bytes()) for path in sorted((VECTORS / kind).rglob("*.json"))]
    assert len(cases) == number
    assert [case["desc"] for case in cases if is_refused(kind, case) != case["wantErr"]] == []


def is_refused(kind: str, case: dict[str, Any]) -> bool:
    proof = [b64decode(each) for each in case["proof"] or ()]
    hashes = {name: b64decode(case[name]) for name in ("root", "leafHash", "root1", "root2") if name in case}
    try:
        match kind:
            case "inclusion":
                merkle.verify_inclusion(hashes["leafHash"], case["leafIdx"], case["treeSize"], hashes["root"], proof)
            case "consistency":
                merkle.verify_consistency(case["size1"], case["size2"], hashes["root1"], hashes["root2"], proof)
            case "subtreeinclusion":
                merkle.verify_subtree_inclusion(
                    hashes["leafHash"], case["leafIdx"], case["start"], case["end"], hashes["root"], proof
                )
            case _:
                merkle.verify_subtree_consistency(
                    case["start"], case["end"], case["size"], hashes["root1"], hashes["root2"], proof
                )
    except ProofRefused:
        return True
    return False
