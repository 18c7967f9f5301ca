"""Is it RFC 6962, and does nothing pass for a proof that is none?"""

import json
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
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


# Every small case, judged by the definitions


def implied(
    start: int, end: int, size: int, subtree: bytes, proof: Sequence[bytes], whole: bool = True
) -> tuple[bytes, bytes] | None:
    """The roots (of the subtree, of the tree) that a consistency proof leads to, read backwards from SUBTREE_SUBPROOF
    of the Merkle tree certificates draft; with start 0 it is SUBPROOF of RFC 6962 §2.1.2. None: it does not fit."""
    if (start, end) == (0, size):
        found = [subtree] if whole else list(proof)
        return (found[0], found[0]) if len(found) == 1 and (not whole or not proof) else None
    if not proof:
        return None
    *rest, last = proof
    split = 1 << ((size - 1).bit_length() - 1)
    if end <= split:
        inner = implied(start, end, split, subtree, rest, whole)
        return inner and (inner[0], node_hash(inner[1], last))
    if split <= start:
        inner = implied(start - split, end - split, size - split, subtree, rest, whole)
        return inner and (inner[0], node_hash(last, inner[1]))
    inner = implied(0, end - split, size - split, subtree, rest, False)
    return inner and (node_hash(last, inner[0]), node_hash(last, inner[1]))


def honest(start: int, end: int, leaves: Sequence[bytes], whole: bool = True) -> list[bytes]:
    """SUBTREE_SUBPROOF, word for word."""
    size = len(leaves)
    if (start, end) == (0, size):
        return [] if whole else [naive_root(leaves)]
    split = 1 << ((size - 1).bit_length() - 1)
    if end <= split:
        return [*honest(start, end, leaves[:split], whole), naive_root(leaves[split:])]
    if split <= start:
        return [*honest(start - split, end - split, leaves[split:], whole), naive_root(leaves[:split])]
    return [*honest(0, end - split, leaves[split:], False), naive_root(leaves[:split])]


def is_subtree(start: int, end: int, size: int) -> bool:
    """As the draft has it: start is a multiple of the smallest power of two that is not below the width."""
    return 0 <= start < end <= size and start % (1 << (end - start - 1).bit_length()) == 0


AFAR = 128
"""Where a subtree may begin that is as wide as the largest small case."""


@pytest.mark.parametrize("size", range(1, 12))
def test_every_small_proof_and_its_distortions_are_judged_as_the_definition_says(size: int) -> None:
    verdicts = set()
    for case in small_cases(leaves_of(size)):
        start, end, size_, subtree, root, proof = case
        fits = is_subtree(start, end, size_) and all(len(each) == 32 for each in proof)
        expected = fits and implied(start, end, size_, subtree, proof) == (subtree, root)
        verdicts.add(expected)
        assert accepted(merkle.verify_subtree_consistency, *case) == expected, case
        if start == 0:
            assert accepted(merkle.verify_consistency, *case[1:]) == expected, case
        if end == start + 1:
            expected = expected and len(subtree) == 32
            assert accepted(merkle.verify_inclusion, subtree, start, size_, root, proof) == expected, case
            moved = (subtree, AFAR + start, AFAR, AFAR + size_, root, proof)
            assert accepted(merkle.verify_subtree_inclusion, *moved) == expected, case
    assert verdicts == {True, False}


Case = tuple[int, int, int, bytes, bytes, list[bytes]]


def small_cases(leaves: Sequence[bytes]) -> Iterator[Case]:
    """Every subtree of the tree with its proof, and every distortion of them."""
    size = len(leaves)
    for start, stop in combinations(range(size + 1), 2):
        if is_subtree(start, stop, size):
            proof = honest(start, stop, leaves)
            yield from distorted(start, stop, size, naive_root(leaves[start:stop]), naive_root(leaves), proof)


def distorted(start: int, end: int, size: int, subtree: bytes, root: bytes, proof: list[bytes]) -> Iterator[Case]:
    """The case itself, then it with each number, root and hash changed in turn."""
    yield start, end, size, subtree, root, proof
    for more in (-2, -1, 1, 2, 4, 8):
        yield start + more, end, size, subtree, root, proof
        yield start, end + more, size, subtree, root, proof
        yield start, end, size + more, subtree, root, proof
        yield start + more, end + more, size, subtree, root, proof
    for wrong in (b"", EMPTY_ROOT, leaf_hash(b"other"), root[:-1], root + b"\0"):
        yield start, end, size, wrong, root, proof
        yield start, end, size, subtree, wrong, proof
        yield start, end, size, wrong, wrong, proof
    yield start, end, size, root, subtree, proof
    for each in (
        *damaged(proof),
        [],
        [*proof, subtree],
        [*proof, root],
        [subtree, *proof],
        [root, *proof],
        [*proof, *proof],
    ):
        yield start, end, size, subtree, root, each
    for nth in range(len(proof)):
        yield start, end, size, subtree, root, [*proof[:nth], *proof[nth + 1 :]]
        yield start, end, size, subtree, root, [*proof[:nth], proof[nth], *proof[nth:]]


def accepted(verify: Callable[..., None], *case: Any) -> bool:
    try:
        verify(*case)
    except ProofRefused:
        return False
    return True


# Cases of others


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
