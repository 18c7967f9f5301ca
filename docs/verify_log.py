#!/usr/bin/env python3
"""Is this export of an Assent log what was written and signed? Read this file, then run it.

    python verify_log.py log.zip [--key KEY] [--witness KEY] [--checkpoint NOTE]

It needs Python 3.11 and `pip install cryptography`; nothing of Assent, no network. In order of position it looks at

1. Hashes: a record's leaf is SHA-256(0x00 || record), a node SHA-256(0x01 || left || right), as in RFC 6962. The tiles
   (C2SP tlog-tiles) hold exactly these, and each head and checkpoint names the root of the records before it. So all
   heads and checkpoints are consistent with each other: the log only grew.
2. Signatures: every checkpoint (C2SP signed note, Ed25519) is signed by the log's key; cosignatures of witnesses are
   right. A record of the stream log-assent may hand over to another key: the first checkpoint that covers it is
   signed by both. Or it tells that an operator accepted a rollback: what was given up need not fit. Both are printed.
3. Order: a record knows its position; versions of a stream count from 1; `recorded` never goes back; nothing occurred
   after it was recorded, or before the last event of its stream; a cause comes first.

Exit code 0: nothing differs; 1: something does, at the position named; 2: the file cannot be read. Without --key the
file's own word is taken for the log's first key: get a key from the log's operator once, in another way.
"""

import argparse
import csv
import io
import json
import sys
import zipfile
from base64 import b64decode
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

WIDTH = 256


class Differs(Exception):
    def __init__(self, position, sentence):
        super().__init__(f"Position {position}: {sentence}.")


class Key:
    """A C2SP verifier key, name+id+base64(type || public key). Type 1 signs a note; type 4, a witness, the time too."""

    def __init__(self, text):
        self.text = text
        self.name, self.id, encoded = text.split("+", 2)
        raw = b64decode(encoded, validate=True)
        self.type, self.public = raw[0], Ed25519PublicKey.from_public_bytes(raw[1:])
        if self.type not in (1, 4) or self.id != sha256(self.name.encode() + b"\n" + raw).digest()[:4].hex():
            raise ValueError(f"{text} is no verifier key")

    def verifies(self, text, signature):
        if self.type == 4:
            text = f"cosignature/v1\ntime {int.from_bytes(signature[:8])}\n{text}"
            signature = signature[8:]
        try:
            self.public.verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True


def opened(note):
    """Of a signed note: the text, the origin, size and root in it, and (name, key id, signature) of each last line."""
    text, _, lines = note.rpartition("\n\n")
    origin, size, root = text.split("\n")[:3]
    signatures = []
    for line in lines.splitlines():
        _, name, encoded = line.split(" ")
        raw = b64decode(encoded, validate=True)
        signatures.append((name, raw[:4].hex(), raw[4:]))
    return text + "\n", origin, int(size), b64decode(root, validate=True), signatures


def tile_name(level, index, width):
    """tile/0/x001/234.p/8: the index in groups of three digits, and the width of a tile that is not complete."""
    digits = str(index).zfill(-(-len(str(index)) // 3) * 3)
    path = "/".join(f"x{digits[at : at + 3]}" for at in range(0, len(digits) - 3, 3))
    return f"tile/{level}/{path}/{digits[-3:]}".replace("//", "/") + (f".p/{width}" if width < WIDTH else "")


def once(pairs):
    """A JSON object, in which no name may come twice."""
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name comes twice")
    return dict(pairs)


class Log:
    def __init__(self, file, witnesses, known):
        self.file = file
        manifest = json.loads(file.read("manifest.json"))
        if manifest["format"] != "assent-log/1":
            raise ValueError("this script reads the format assent-log/1")
        self.origin, self.size, self.key = manifest["origin"], manifest["size"], Key(manifest["key"])
        self.witnesses = [Key(each) for each in {*manifest["witnesses"], *witnesses}]
        self.known = sorted([*known, (self.size, b64decode(manifest["root"]), "manifest.json")])
        rows = csv.DictReader(io.TextIOWrapper(file.open("heads.csv")))
        self.heads = ((int(row["size"]), b64decode(row["root"], validate=True)) for row in rows)
        self.checkpoints = (json.loads(line) for line in file.open("checkpoints.jsonl"))
        self.head, self.checkpoint = next(self.heads, None), next(self.checkpoints, None)
        self.edge, self.tiles = [], {}  # (level, hash) of the perfect subtrees; the tile that is open on each level
        self.head_size = self.signed_size = 0  # up to where heads and checkpoints fit
        self.signers, self.signed_by, self.cosigned = [self.key], set(), {}  # signers: of the next checkpoint
        self.rollbacks, self.misfit, self.last_note = [], None, ""
        self.streams, self.recorded = {}, None

    # 1. Hashes

    def root(self):
        found = self.edge[-1][1]
        for _, left in reversed(self.edge[:-1]):
            found = sha256(b"\x01" + left + found).digest()
        return found

    def grow(self, position, leaf):
        level, found = 0, leaf
        self.compare_tile(position, level, found)
        while self.edge and self.edge[-1][0] == level:
            found = sha256(b"\x01" + self.edge.pop()[1] + found).digest()
            level += 1
            self.compare_tile(position, level, found)
        self.edge.append((level, found))

    def compare_tile(self, position, level, found):
        """Every eighth level of the tree is kept in tiles of 256 hashes."""
        if level % 8 == 0:
            index, nth = divmod(position >> level, WIDTH)
            if nth == 0:
                width = min(WIDTH, (self.size >> level) - index * WIDTH)
                self.tiles[level] = self.file.read(tile_name(level // 8, index, width))
            if self.tiles[level][32 * nth : 32 * nth + 32] != found:
                raise Differs(position >> level << level, "the hash of the record is not the one in the tile")

    def compare_heads(self, size):
        if self.head and self.head[0] <= size:
            if self.head != (size, self.root()):
                raise Differs(self.head_size, f"head {self.head[0]} is not that of the records up to it")
            self.head, self.head_size = next(self.heads, None), size
        while self.known and self.known[0][0] <= size:
            _, root, source = self.known.pop(0)
            if root != self.root():
                raise Differs(self.signed_size, f"the records up to {size - 1} are not those that {source} speaks of")

    # 2. Signatures

    def compare_checkpoint(self, size):
        self.last_note = self.checkpoint["note"]
        self.checkpoint = next(self.checkpoints, None)
        text, origin, named_size, root, signatures = opened(self.last_note)
        if (origin, named_size) != (self.origin, size):
            raise Differs(self.signed_size, f"the checkpoint of size {size} speaks of {origin}, size {named_size}")
        for key in [*self.signers, *self.witnesses]:
            own = [signature for name, id, signature in signatures if (name, id) == (key.name, key.id)]
            if not (own or key in self.witnesses) or not all(key.verifies(text, each) for each in own):
                raise Differs(self.signed_size, f"the checkpoint of size {size} is not signed by {key.text}")
            if own and key in self.witnesses and root == self.root():
                self.cosigned[key.text] = size
        if root != self.root():
            sentence = f"the records from here up to {size - 1} are not those that were signed"
            self.misfit = self.misfit or (self.signed_size, sentence)
            return
        self.signed_by |= {key.text for key in self.signers}
        self.signers, self.signed_size = [self.key], size
        if self.misfit and any(agreed <= self.misfit[0] < found < size for agreed, found in self.rollbacks):
            self.misfit = None

    def own_act(self, position, type, data):
        """The log's own stream: another key, or a rollback that an operator accepted."""
        if type == "LogKeyRotated" and (data["previous"], data["key"]) != (None, self.key.text):
            if data["previous"] != self.key.text:
                raise Differs(position, f"{data['previous']} hands over, and not {self.key.text}")
            self.key = Key(data["key"])
            self.signers.append(self.key)
        elif type == "RollbackAccepted":
            self.key = Key(data["key"])
            self.signers = [self.key]
            self.rollbacks.append((data["agreed_size"], data["found_size"]))
        print(f"Position {position}: {type} {data}")

    # 3. Order

    def compare_order(self, position, record):
        fact = json.loads(record, object_pairs_hook=once)
        recorded, occurred = (datetime.fromisoformat(fact[name]) for name in ("recorded", "occurred"))
        version, last = self.streams.get(fact["stream"], (0, occurred))
        if position > self.head_size and recorded != self.recorded:
            raise Differs(self.head_size, "its append has no head, for it has records of two times")
        for fits, sentence in (
            (fact["position"] == position, f"the record says that it stands at position {fact['position']}"),
            (fact["version"] == version + 1, f"version {version} of {fact['stream']} is not followed by the next"),
            (last <= occurred, f"it occurred before the last event of {fact['stream']}"),
            (occurred <= recorded, "it occurred after it was recorded"),
            (self.recorded is None or self.recorded <= recorded, "it was recorded before the record in front of it"),
            (fact["cause"] is None or fact["cause"] < position, "its cause does not come before it"),
        ):
            if not fits:
                raise Differs(position, sentence)
        self.streams[fact["stream"]] = fact["version"], occurred
        self.recorded = recorded
        if fact["stream"] == "log-assent":
            self.own_act(position, fact["type"], fact["data"])

    # All of it

    def records(self):
        for index in range(-(-self.size // WIDTH)):
            width = min(WIDTH, self.size - index * WIDTH)
            part, at = self.file.read(tile_name("entries", index, width)), 0
            for position in range(index * WIDTH, index * WIDTH + width):
                end = at + 2 + int.from_bytes(part[at : at + 2])
                yield position, part[at + 2 : end]
                at = end
            if at != len(part):
                raise Differs(index * WIDTH, f"entry bundle {index} does not hold {width} records")

    def verify(self, key, witnesses):
        for position, record in self.records():
            self.grow(position, sha256(b"\x00" + record).digest())
            try:
                self.compare_order(position, record)
            except (ValueError, LookupError, TypeError) as error:
                raise Differs(position, f"the record cannot be read: {error}") from error
            self.compare_heads(position + 1)
            if self.checkpoint and self.checkpoint["size"] <= position + 1:
                self.compare_checkpoint(position + 1)
        if self.misfit:
            raise Differs(*self.misfit)
        if self.known or self.head or self.checkpoint:
            raise Differs(self.size, "something speaks of more records than there are")
        if {self.head_size, self.signed_size} != {self.size} or self.last_note != self.file.read("checkpoint").decode():
            raise Differs(self.signed_size, "no head or checkpoint covers the records from here on")
        if key and key not in self.signed_by:
            raise Differs(0, f"no checkpoint is signed by {key}")
        for witness in set(witnesses) - self.cosigned.keys():
            raise Differs(0, f"no checkpoint is cosigned by {witness}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--key", help="a key of the log, as you were given it")
    parser.add_argument("--witness", action="append", default=[], help="the key of a witness that must have cosigned")
    parser.add_argument("--checkpoint", action="append", default=[], help="a signed note that you kept")
    given = parser.parse_args()
    try:
        known = [(*opened(Path(note).read_text())[2:4], note) for note in given.checkpoint]
        with zipfile.ZipFile(given.file) as file:
            log = Log(file, given.witness, known)
            log.verify(given.key, given.witness)
    except Differs as differs:
        print(differs)
        return 1
    except (OSError, ValueError, LookupError, zipfile.BadZipFile) as error:
        print(f"It cannot be read: {error}")
        return 2
    print(f"{log.size} records of {log.origin}: no position differs. Root: {log.root().hex()}")
    print("Signed by", *sorted(log.signed_by), "" if given.key else "(by its own word)")
    for witness, size in log.cosigned.items():
        print(f"Cosigned, up to {size} records, by {witness}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
