"""How is the log one tree of hashes, and what proves that a record is in it, or that it only ever grew?

RFC 6962: leaf = SHA-256(0x00 ‖ record), node = SHA-256(0x01 ‖ left ‖ right). A node is named (level, index): it covers
the 2^level leaves from index · 2^level. Subtrees and their proofs: the IETF's Merkle tree certificates draft.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
"""The root of the tree without leaves."""

Node = tuple[int, int]
"""(level, index)."""

Nodes = Mapping[Node, bytes]


class ProofRefused(ValueError):
    """The proof does not show what it should."""


def leaf_hash(record: bytes) -> bytes:
    return sha256(b"\x00" + record).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a growing tree: the roots of its perfect subtrees, the largest first. Enough to append."""

    __slots__ = ("_roots", "size")

    def __init__(self, size: int = 0, frontier: bytes = b"") -> None:
        if len(frontier) != size.bit_count() * HASH_BYTES:
            raise ValueError(f"A tree of {size} leaves has {size.bit_count()} roots at its edge.")
        self.size = size
        self._roots = [frontier[at : at + HASH_BYTES] for at in range(0, len(frontier), HASH_BYTES)]

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Append leaf hashes: amortised two hashes a leaf."""
        roots, size = self._roots, self.size
        for leaf in leaves:
            node, covered = leaf, size
            while covered & 1:
                node = sha256(b"\x01" + roots.pop() + node).digest()
                covered >>= 1
            roots.append(node)
            size += 1
        self.size = size

    def copy(self) -> "Frontier":
        return Frontier(self.size, bytes(self))

    def root(self) -> bytes:
        return _bag(self._roots)

    def __bytes__(self) -> bytes:
        return b"".join(self._roots)


def _bag(roots: Sequence[bytes]) -> bytes:
    """The hash of neighbouring perfect subtrees that shrink to the right."""
    if not roots:
        return EMPTY_ROOT
    found = roots[-1]
    for root in reversed(roots[:-1]):
        found = node_hash(root, found)
    return found


# Proofs


Range = tuple[int, int]


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def _perfect(start: int, end: int) -> list[Node]:
    """The perfect subtrees that cover the leaves from start up to end, from left to right, where start is aligned."""
    found = []
    while start < end:
        level = (end - start).bit_length() - 1
        found.append((level, start >> level))
        start += 1 << level
    return found


def _inclusion_path(position: int, size: int) -> list[Range]:
    """The ranges whose hashes lead from a leaf up to the root, the lowest first (RFC 6962 §2.1.1)."""
    if not 0 <= position < size:
        raise ProofRefused(f"A tree of {size} leaves has none at {position}.")
    start, end = 0, size
    path = []
    while end - start > 1:
        middle = start + _split(end - start)
        if position < middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start = middle
    return path[::-1]


def _consistency_path(size1: int, size2: int) -> list[Range]:
    """The ranges that show that the tree of size1 is the beginning of the tree of size2 (RFC 6962 §2.1.2)."""
    if not 0 < size1 <= size2:
        raise ProofRefused(f"No proof leads from a tree of {size1} leaves to one of {size2}.")
    start, end = 0, size2
    path = []
    while size1 < end:
        middle = start + _split(end - start)
        if size1 <= middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start = middle
    if start > 0:
        path.append((start, end))
    return path[::-1]


def _needed(path: Sequence[Range]) -> set[Node]:
    return {node for start, end in path for node in _perfect(start, end)}


def _hashes(path: Sequence[Range], nodes: Nodes) -> list[bytes]:
    return [_bag([nodes[node] for node in _perfect(start, end)]) for start, end in path]


def inclusion_needs(position: int, size: int) -> set[Node]:
    """The perfect nodes from which the inclusion proof is built: at most 2 · log2(size)."""
    return _needed(_inclusion_path(position, size))


def inclusion_proof(position: int, size: int, nodes: Nodes) -> list[bytes]:
    return _hashes(_inclusion_path(position, size), nodes)


def consistency_needs(size1: int, size2: int) -> set[Node]:
    return _needed(_consistency_path(size1, size2))


def consistency_proof(size1: int, size2: int, nodes: Nodes) -> list[bytes]:
    return _hashes(_consistency_path(size1, size2), nodes)


def levels(hashes: Sequence[bytes]) -> list[list[bytes]]:
    """A perfect tree's levels from these (2^n) hashes up to the root."""
    found = [list(hashes)]
    while len(found[-1]) > 1:
        below = found[-1]
        found.append([node_hash(below[at], below[at + 1]) for at in range(0, len(below), 2)])
    return found


# Verification


def _aligned(start: int, end: int) -> bool:
    """Whether the leaves from start up to end are a subtree: start is a multiple of the power of two that covers it."""
    return 0 <= start <= end and (start == end or start % (1 << (end - start - 1).bit_length()) == 0)


def _check_lengths(*hashes: bytes) -> None:
    if any(len(each) != HASH_BYTES for each in hashes):
        raise ProofRefused(f"A hash is {HASH_BYTES} bytes long.")


def verify_inclusion(leaf: bytes, position: int, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Refuse unless the proof leads from the leaf at that position to the root. Nothing is in the empty tree.

    Raises ProofRefused.
    """
    if not 0 <= position < size:
        raise ProofRefused(f"A tree of {size} leaves has none at {position}.")
    _check_lengths(leaf, *proof)
    found, at, last = leaf, position, size - 1
    for sibling in proof:
        if last == 0:
            raise ProofRefused("The proof is too long.")
        if at & 1 or at == last:
            found = node_hash(sibling, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        at, last = at >> 1, last >> 1
    if last != 0:
        raise ProofRefused("The proof is too short.")
    if found != root:
        raise ProofRefused("The proof leads to another root.")


def verify_consistency(size1: int, size2: int, root1: bytes, root2: bytes, proof: Sequence[bytes]) -> None:
    """Refuse unless the proof shows that the tree of size1 is the beginning of the tree of size2.

    Everything begins with the empty tree, so a proof from it proves nothing and is refused. Raises ProofRefused.
    """
    if size1 == 0:
        raise ProofRefused("A proof from the empty tree proves nothing.")
    verify_subtree_consistency(0, size1, size2, root1, root2, proof)


def verify_subtree_inclusion(
    leaf: bytes, position: int, start: int, end: int, root: bytes, proof: Sequence[bytes]
) -> None:
    """Refuse unless the proof leads from the leaf at that position to the root of the subtree from start up to end.

    Raises ProofRefused.
    """
    if not _aligned(start, end):
        raise ProofRefused(f"{start} to {end} is not a subtree.")
    verify_inclusion(leaf, position - start, end - start, root, proof)


def verify_subtree_consistency(
    start: int, end: int, size: int, subtree: bytes, root: bytes, proof: Sequence[bytes]
) -> None:
    """Refuse unless the proof shows that the subtree from start up to end is part of the tree of that size.

    The subtree without leaves is part of every tree: it needs the empty root and the empty proof. Raises ProofRefused.
    """
    if not _aligned(start, end) or end > size:
        raise ProofRefused(f"{start} to {end} is not a subtree of a tree of {size} leaves.")
    if start == end:
        if subtree != EMPTY_ROOT or proof:
            raise ProofRefused("The subtree without leaves has the empty root and the empty proof.")
        return
    _check_lengths(*proof)
    first, last, top = start, end - 1, size - 1
    while first != last and (last == top or last & 1):
        first, last, top = first >> 1, last >> 1, top >> 1
    steps = iter(proof)
    seed: bytes | None = subtree if first == last else next(steps, None)
    if seed is None:
        raise ProofRefused("The proof is too short.")
    old = new = seed
    for sibling in steps:
        if top == 0:
            raise ProofRefused("The proof is too long.")
        if last & 1 or last == top:
            if first < last:
                old = node_hash(sibling, old)
            new = node_hash(sibling, new)
            while not last & 1 and last:
                first, last, top = first >> 1, last >> 1, top >> 1
        else:
            new = node_hash(new, sibling)
        first, last, top = first >> 1, last >> 1, top >> 1
    if top != 0:
        raise ProofRefused("The proof is too short.")
    if old != subtree:
        raise ProofRefused("The proof leads to another earlier root.")
    if new != root:
        raise ProofRefused("The proof leads to another root.")
