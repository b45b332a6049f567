#!/usr/bin/env python3
"""An independent reader of bk repositories, made from bk-repository(7) alone.

  list                  snapshots: id, time, host, profile, outcome (tab separated)
  restore SNAPSHOT DIR  SNAPSHOT is the beginning of an id, or "latest"
  check                 read and verify everything
  keys                  key slots: name, derivation, label, time, host

exit: 0 good; 1 damage, refusal or wrong key; 2 usage; 3 restored, but not all attributes or devices (see stderr)
"""
import argparse, hmac, os, re, stat, sys
from collections import namedtuple
from datetime import datetime, timedelta
from functools import lru_cache
import zstandard
from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

class Damage(Exception):
    """The repository is not what the page says, or must be refused."""
def need(ok, message):
    if not ok: raise Damage(message)

# ---------------------------------------------------------------- primitives
def HASH(x): return blake3(x).digest()
def KEYED(k, x): return blake3(x, key=k).digest()
def DERIVE(context, x): return blake3(x, derive_key_context=context).digest()
def u32(n): return n.to_bytes(4, "little")
def le(b): return int.from_bytes(b, "little")
def split(ids): return [ids[i:i + 32] for i in range(0, len(ids), 32)]
def ascending(x): return all(a < b for a, b in zip(x, x[1:]))

def padme(n):
    e = n.bit_length() - 1
    low = (1 << (e - e.bit_length())) - 1  # floor(log2 e) + 1 is the bit length of e
    return (n + low) & ~low

def unseal(key, number, ad, stored, what):
    """Opens a sealed segment; ad is header || scope (or what stands for it)."""
    need(len(stored) >= 32, f"{what}: sealed segment is too short")
    try:
        k = KEYED(key, u32(number) + stored[:16])
        return ChaCha20Poly1305(k).decrypt(bytes(12), stored[16:], ad + u32(number))
    except InvalidTag:
        raise Damage(f"{what}: does not authenticate") from None

def decode(encoding, data, length, what):
    """Undoes the encoding of a segment or an object; length is what must come out."""
    need(encoding in (0, 1), f"{what}: unknown encoding {encoding}")
    if encoding == 1:
        # The size in the frame would override the one asked for, so look at it first.
        need(zstandard.frame_content_size(data) in (-1, length), f"{what}: zstd frame has another length")
        data = zstandard.ZstdDecompressor().decompress(data, max(length, 1), allow_extra_data=False)
    need(len(data) == length, f"{what}: decodes to {len(data)} bytes, not {length}")
    return data

# ---------------------------------------------------- deterministic CBOR, strict
def cbor(data, shape, what):
    item, end = cbor_item(data, 0, what, 0)
    need(end == len(data), f"{what}: bytes after the CBOR item")
    fits(item, shape, what)
    return item

def cbor_item(d, p, what, depth):
    need(p < len(d) and depth < 64, f"{what}: CBOR ends early or is nested too deep")
    major, n, p = d[p] >> 5, d[p] & 31, p + 1
    need(major < 6 or major == 7 and n in (20, 21, 22), f"{what}: CBOR tag, float or simple value")
    if major == 7: return ("simple", n), p  # false, true, null: in no known key
    if n >= 24:
        need(n < 28, f"{what}: CBOR indefinite length")
        size = 1 << (n - 24)
        n, p = int.from_bytes(d[p:p + size], "big"), p + size
        need(n >= (24 if size == 1 else 1 << (4 * size)) and p <= len(d), f"{what}: CBOR is not in shortest form")
    if major < 2: return (-1 - n if major else n), p
    if major < 4:
        need(p + n <= len(d), f"{what}: CBOR ends early")
        return (d[p:p + n].decode() if major == 3 else d[p:p + n]), p + n
    items = []
    for _ in range(n * (major - 3)):
        v, p = cbor_item(d, p, what, depth + 1)
        items.append(v)
    if major == 4: return items, p
    keys = items[::2]
    need(all(type(k) is int and k >= 0 for k in keys) and ascending(keys), f"{what}: CBOR map keys are not ascending")
    return dict(zip(keys, items[1::2])), p

# ----------------------------------------------- shapes: what a CBOR item must be
def fits(v, shape, what):
    """A shape is int: an unsigned number; a range; bytes, or a number of them; str; [of each]; (of each place);
    {key: value}, with -key when it may be absent (unknown keys are ignored); or a function that looks itself."""
    if shape is int or isinstance(shape, range):
        need(type(v) is int and (v in shape if shape is not int else v >= 0), f"{what}: no number, or out of range")
    elif shape in (bytes, str) or isinstance(shape, int):
        need(type(v) is (str if shape is str else bytes) and (shape in (bytes, str, len(v))),
             f"{what}: no bytes or text, or of wrong length")
    elif isinstance(shape, (list, tuple)):
        need(type(v) is list and (type(shape) is list or len(v) == len(shape)), f"{what}: no array, or of wrong length")
        for x, each in zip(v, shape * len(v) if type(shape) is list else shape): fits(x, each, what)
    elif isinstance(shape, dict):
        need(type(v) is dict, f"{what}: no map")
        for k, each in shape.items():
            need(k < 0 or k in v, f"{what}: key {k} is missing")
            if abs(k) in v: fits(v[abs(k)], each, f"{what}: key {abs(k)}")
    else: shape(v, what)

def time(v, what):
    need(type(v) is list and [*map(type, v)] == [int, int] and 0 <= v[1] < 10**9, f"{what}: no time")
def content(v, what):
    fits(v, (range(8), bytes, [int]), what)
    need(len(v[1]) == 32 * len(v[2]), f"{what}: ids and lengths of a content differ in number")
def xattr(v, what):
    fits(v, (bytes, content if type(v) is list and v and type(v[-1]) is list else bytes), what)

NODE = {1: bytes, 2: range(7), 3: range(0o10000), 8: time, 9: time, -4: int, -5: int, -6: str, -7: str, -10: [xattr],
        -11: int, -12: (int, int), -13: int, -14: content, -15: [(int, int)], -16: int, -17: [(str, int)], -18: 32,
        -19: bytes, -20: (int, int)}
ONLY = {**dict.fromkeys(range(13, 18), (0,)), 18: (1,), 19: (2,), 20: (3, 4)}  # key: types

def node(v, what):
    fits(v, NODE, what)
    what = f"{what}: {v[1]!r}"
    need(v[1] not in (b"", b".", b"..") and not set(v[1]) & {0, 47} and len(v[1]) <= 4096, f"{what}: unsafe name")
    for k in v:
        need(k not in ONLY or v[2] in ONLY[k], f"{what}: key {k} does not apply to type {v[2]}")
        need(k not in {*range(4, 20)} - {8, 9} or v[k] not in (0, "", b"", []), f"{what}: key {k} is present but empty")
    need({1: 18, 2: 19, 3: 20, 4: 20}.get(v[2], 1) in v, f"{what}: its key for type {v[2]} is missing")
    need(ascending([x[0] for x in v.get(10, [])]), f"{what}: attributes are not sorted")
    end, total = -1, 0
    for offset, length in v.get(15, []):
        need(offset > end and length > 0, f"{what}: holes touch, are empty or not sorted")
        end, total = offset + length, total + length
    need(end <= v.get(13, 0) == total + sum(v.get(14, [0, b"", []])[2]), f"{what}: size is not content and holes")

def tree_keys(t): return [e[1] if t[1] == 0 else e[0] for e in t[2]]
def tree(v, what):
    fits(v, {1: range(2)}, what)
    fits(v, {2: [(bytes, 32) if v[1] else node]}, what)
    need(ascending(tree_keys(v)), f"{what}: names are not in order")

SLOT = {1: int, -2: range(2097153), -3: range(17), -4: range(17)}
NOTE = {-1: str, -2: time, -3: str}
CONFIG = {1: int, 2: 16, 3: 16, -4: int, -5: int, 6: [int], -7: [int], -8: [int], -9: time, 10: range(2**32)}
TABLE = [(range(0xFFFFFFF0), range(2), int, bytes, [int])]
INDEX = {-1: 16, -2: time, 3: [(32, 8, int, bytes, TABLE)]}
SNAPSHOT = {1: time, 2: time, 3: str, -4: str, -5: [str], 6: [(bytes, bytes, node)], 8: range(2), -10: int, -12: 32,
            -7: {-k: int for k in range(1, 12)}, -9: [(str, bytes, str)], -11: [{-1: str, -2: str, -3: str}],
            -13: str, -14: str, 15: str, -16: str, 17: int, 18: 16, -19: str, -20: [str], -21: time}
FACTS = [{1: int, 2: time, 3: str, -4: 32, -5: 32, -6: str}]
MARK = {-1: time, 2: [(32, 8)], -3: 16, -4: bytes}

# ------------------------------------------------------------------- objects
KINDS = {"config": (1,), "keys": (2,), "packs": (3, 4), "index": (5,), "snapshots": (6,), "facts": (7,), "marks": (8,)}
KEY_OF = {1: "config", 3: "data", 4: "meta", 5: "index", 6: "meta", 7: "meta", 8: "mark"}
HEX64 = "[0-9a-f]{64}"
NAMES = {d: f"{d}/{HEX64}" for d in KINDS} | {
    "config": f"config/[0-9a-f]{{8}}-{HEX64}", "packs": f"packs/([0-9a-f]{{2}})/(?=\\1){HEX64}\\.[0-9a-f]{{16}}"}
Header = namedtuple("Header", "kind epoch salt ext raw")
Segment = namedtuple("Segment", "number encoding offset stored length")

def parse_header(b, name):
    need(len(b) >= 44 and b[:4] == b"bkv1", f"{name}: no bkv1 header")
    need(b[4] in KINDS[name.split("/")[0]], f"{name}: wrong kind {b[4]}")
    need(b[5] == 0 and b[8:10] == b"\0\0", f"{name}: unknown wrap algorithm {b[5]}")
    e = le(b[10:12])
    need(len(b) >= 44 + e, f"{name}: header is cut off")
    shape = {1: 16} if b[4] in (1, 2) else {}  # repository id, family id
    ext = cbor(b[44:44 + e] if e else b"\xa0", shape, f"{name}: extensions")
    need(ext or not e, f"{name}: empty extension map is written out")
    return Header(b[4], le(b[6:8]), b[12:44], ext, b[:44 + e])

class Pack:
    """A pack as its table tells, which comes from the pack itself or from an index."""
    def __init__(self, name, size, header, table):
        self.name, self.header, self.seen, self.segments, self.blobs = name, header, (size, header, table), [], []
        self.end = len(header.raw)  # of the segments: there the padding begins
        for number, encoding, stored, ids, lengths in table:
            need(stored >= 32 and len(ids) == 32 * len(lengths) and sum(lengths) <= 8388608, f"{name}: bad table entry")
            s, p = Segment(number, encoding, self.end, stored, sum(lengths)), 0
            self.segments.append(s)
            self.end += stored
            for i, n in zip(split(ids), lengths):
                self.blobs.append((i, s, p, n))
                p += n
        need(len({s.number for s in self.segments}) == len(table), f"{name}: segment numbers repeat")
        need(self.end + 32 + 33 + 64 <= size, f"{name}: segments do not fit into the pack")

class Repo:
    def __init__(self, root, passphrase, secret, no_index, strict):
        self.root, self.no_index, self.strict = root, no_index, strict  # strict: in a check
        self.open_slots(passphrase, secret)
        self.k_id = DERIVE("bk v1 id", self.master[0])
        self.k_tree, self.k_name = DERIVE("bk v1 tree id", self.k_id), DERIVE("bk v1 name", self.k_id)
        self.open_config()
    def names(self, where):
        """The names that fit the page's table; all others are ignored."""
        files = [os.path.join(d, f) for d, _, names in os.walk(os.path.join(self.root, where)) for f in names]
        return sorted(n for n in (os.path.relpath(f, self.root) for f in files) if re.fullmatch(NAMES[where], n))
    def read(self, name, offset=0, length=-1):
        with open(os.path.join(self.root, name), "rb") as f:
            f.seek(offset)
            data = f.read(length)
        need(length in (-1, len(data)), f"{name}: is cut off")
        return data
    def read_whole(self, name):
        data, want = self.read(name), re.search(f"({HEX64})(\\.|$)", name)[1]
        need(HASH(data).hex() == want, f"{name}: bytes do not have the hash in the name")
        return data
    # -- keys
    def parse_slot(self, name):
        b = self.read_whole(name)
        h = parse_header(b, name)
        p, parts = len(h.raw), []
        for n in (None, 32, None, None):  # parameters, commitment, bundle, note
            if n is None: n, p = le(b[p:p + 4]), p + 4
            parts, p = parts + [b[p:p + n]], p + n
        need(p == len(b) and h.epoch == 0, f"{name}: key slot has another length or epoch than it should")
        params = cbor(parts[0], SLOT, f"{name}: parameters")
        m, t, lanes = (params.get(k, 0) for k in (2, 3, 4))
        need(params[1] != 1 or (t >= 1 and lanes >= 1 and m >= 8 * lanes), f"{name}: Argon2id parameters out of range")
        return h, params, h.raw + parts[0] + h.ext[1], *parts[1:]
    def open_slots(self, passphrase, secret):
        for name in self.names("keys"):
            h, params, ad, commitment, bundle, _ = self.parse_slot(name)
            kek = None
            if params[1] == 1 and passphrase is not None:
                kek = hash_secret_raw(passphrase, h.salt, params[3], params[2], params[4], 32, Type.ID, 0x13)
            elif params[1] == 2 and secret is not None:
                kek = DERIVE("bk v1 key file", secret + h.salt)
            if kek and hmac.compare_digest(DERIVE("bk v1 slot commit", kek), commitment):
                bundle = unseal(DERIVE("bk v1 slot key", kek), 0, ad, bundle, name)
                entries = cbor(bundle, [(int, range(65536), 32)], f"{name}: bundle")
                need(len({(k, e) for k, e, _ in entries}) == len(entries), f"{name}: bundle repeats a key")
                self.master, self.family = {e: key for k, e, key in entries if k == 1}, h.ext[1]
                return need(0 in self.master, f"{name}: bundle has no master key of epoch 0")
        raise Damage("no key slot opens with this key")
    def slots(self):
        for name in self.names("keys"):
            h, params, ad, _, _, note = self.parse_slot(name)
            need(h.ext[1] == self.family, f"{name}: slot of another family")
            k = DERIVE("bk v1 slot note", DERIVE("bk v1 config", self.master[0]) + h.salt)
            yield name, params, cbor(unseal(k, 1, ad, note, f"{name}: note"), NOTE, f"{name}: note")
    def key(self, h, context, name):
        need(h.epoch in self.master, f"{name}: no key of epoch {h.epoch}")
        return DERIVE(context, DERIVE("bk v1 " + KEY_OF[h.kind], self.master[h.epoch]) + h.salt)
    # -- sealed objects
    def sealed_object(self, name, shape):
        """(header, item, its CBOR bytes)"""
        b = self.read_whole(name)
        h = parse_header(b, name)
        scope = h.ext[1] if h.kind == 1 else self.id
        x = unseal(self.key(h, "bk v1 object", name), 0, h.raw + scope, b[len(h.raw):], name)
        r, s = le(x[1:9]), le(x[9:17])
        need(r <= 268435456 and 17 + s <= len(x), f"{name}: lengths are out of range")
        need(not any(x[17 + s:]), f"{name}: padding is not zero")
        need(padme(len(h.raw) + 32 + 17 + s) == len(b), f"{name}: length is not Padmé")
        data = decode(x[0], x[17:17 + s], r, name)
        return h, cbor(data, shape, name), data
    def open_config(self):
        valid, damage = [], "no configuration object"
        for name in reversed(self.names("config")):  # the valid one of the highest generation counts
            try:
                h, c, _ = self.sealed_object(name, CONFIG)
                need((c[2], c[3], c[10]) == (h.ext[1], self.family, int(name[7:15], 16)), f"{name}: ids or generation")
                valid.append(c)
            except Damage as e:
                need(not self.strict, e)  # a check wants all of them valid
                damage = e
        need(valid, damage)
        need(valid[0][1] == 1 and not valid[0][6], "config: unknown format version, or features needed to read")
        self.id = valid[0][2]
    def snapshots(self):
        """(id, snapshot), oldest first, without those that are forgotten."""
        gone = {f.get(4) for n in self.names("facts") for f in self.sealed_object(n, FACTS)[1] if f[1] == 7}
        out = {}
        for name in self.names("snapshots"):
            _, s, data = self.sealed_object(name, SNAPSHOT)
            for _, where, n in s[6]:
                parts = where.split(b"/")
                need(not set(parts) & {b"", b".", b".."} and parts[-1] == n[1] and b"\0" not in where,
                     f"{name}: unsafe restore name {where!r}")
            out[KEYED(DERIVE("bk v1 snapshot id", self.k_id), data)] = s
        return sorted(((i, s) for i, s in out.items() if i not in gone), key=lambda x: (x[1][1], x[1][2], x[0]))
    # -- packs and the index
    def open_pack(self, name):
        """A pack through its own trailer and table."""
        size = os.stat(os.path.join(self.root, name)).st_size
        need(size >= 44 + 32 + 33 + 64, f"{name}: pack is too short")
        h = parse_header(self.read(name, 0, min(size, 44 + le(self.read(name, 10, 2)))), name)
        key, ad = self.key(h, "bk v1 pack", name), h.raw + self.family
        t = unseal(key, 0xFFFFFFFF, ad, self.read(name, size - 64, 64), f"{name}: trailer")
        offset, length = le(t[:8]), le(t[8:16])
        need(not any(t[16:]) and offset + length + 64 == size, f"{name}: bad trailer")
        table = unseal(key, 0xFFFFFFFE, ad, self.read(name, offset, length), f"{name}: table")
        pack = Pack(name, size, h, cbor(table, TABLE, f"{name}: table"))
        need(pack.end <= offset, f"{name}: segments reach into the table")
        zeros = unseal(key, 0xFFFFFFFD, ad, self.read(name, pack.end, offset - pack.end), f"{name}: padding")
        need(not any(zeros), f"{name}: padding is not zero")
        need(padme(size - len(zeros)) == size, f"{name}: length is not Padmé")
        return pack
    def load_index(self):
        """Makes self.packs and self.found, from the index objects or with --no-index from the packs."""
        present, self.found = set(self.names("packs")), {}
        mark = {f"{p.hex()}.{x.hex()}" for n in self.names("marks") for p, x in self.sealed_object(n, MARK)[1][2]}
        self.packs = [self.open_pack(name) for name in present] if self.no_index else []
        for name in self.names("index") if not self.no_index else []:
            for pid, nonce, size, raw, table in self.sealed_object(name, INDEX)[1][3]:
                base = f"{pid.hex()}.{nonce.hex()}"
                pack = Pack(f"packs/{base[:2]}/{base}", size, parse_header(raw, f"packs/{base}"), table)
                need(pack.header.raw == raw, f"{name}: bytes after the header of {pack.name}")
                if pack.name in present: self.packs.append(pack)
                # A marked pack may be gone at any time, one that is not marked may not.
                else: need(not self.strict or base in mark, f"{name}: names {pack.name}, which is missing")
        # A marked pack must not be relied on: it serves last, and in a check not at all.
        for pack in sorted(self.packs, key=lambda p: p.name[9:] in mark):
            for i, s, p, n in pack.blobs if not (self.strict and pack.name[9:] in mark) else ():
                self.found.setdefault((pack.header.kind == 4, i), []).append((pack, s, p, n))
    @lru_cache(12)
    def segment(self, pack, s):
        what, key = f"{pack.name}: segment {s.number}", self.key(pack.header, "bk v1 pack", pack.name)
        stored = self.read(pack.name, s.offset, s.stored)
        return decode(s.encoding, unseal(key, s.number, pack.header.raw + self.family, stored, what), s.length, what)
    def piece(self, i, pack, s, p, n):
        """A blob out of its segment; its id is always computed again."""
        x = self.segment(pack, s)[p:p + n]
        need(KEYED(self.k_tree if pack.header.kind == 4 else self.k_id, x) == i, f"{pack.name}: id of blob {i.hex()}")
        return x
    def blob(self, is_tree, i):
        damage = f"{'tree' if is_tree else 'data'} blob {i.hex()} is missing"
        for at in self.found.get((is_tree, i), []):  # any of its entries serves
            try: return self.piece(i, *at)
            except Damage as e: damage = e
        raise Damage(damage)
    # -- trees and contents
    def directory(self, i):
        """The nodes of a directory; checks order, bounds and cuts."""
        levels, out = [], []  # levels: from the top, (type, key lists of all trees there)
        def walk(i, low, high, depth):
            what = f"tree {i.hex()}"
            t = cbor(self.blob(True, i), tree, what)
            keys = tree_keys(t)
            need(depth < 8 and (keys or (t[1], depth) == (0, 0)), f"{what}: nested too deep, or empty inside another")
            need(not keys or low <= keys[0] and (high is None or keys[-1] < high), f"{what}: names out of bounds")
            if len(levels) == depth: levels.append((t[1], []))
            need(levels[depth][0] == t[1], f"{what}: leaf and inner tree side by side")
            levels[depth][1].append(keys)
            if t[1] == 0: return out.extend(t[2])
            for (first, child), following in zip(t[2], keys[1:] + [high]): walk(child, first, following, depth + 1)
        walk(i, b"", None, 0)
        for _, lists in levels: check_cuts(lists, lambda name: KEYED(self.k_name, name), f"directory {i.hex()}")
        return out
    def parts(self, c, what):
        """(id, length) of the data blobs of a content, through its list blobs."""
        levels = {}
        def walk(c):
            levels.setdefault(c[0], []).append(split(c[1]))
            for i, n in zip(split(c[1]), c[2]):
                below = cbor(self.blob(True, i), content, f"list {i.hex()}") if c[0] else [-1, b"", [n]]
                need(below[0] == c[0] - 1 and below[2] and sum(below[2]) == n, f"list {i.hex()}: level or length")
                yield from walk(below) if c[0] else [(i, n)]
        yield from walk(c)
        for lists in levels.values(): check_cuts(lists, lambda i: i, f"{what}: list blobs")
    def data(self, c, what):
        for i, n in self.parts(c, what):
            x = self.blob(False, i)
            need(len(x) == n, f"{what}: blob {i.hex()} has another length than is said")
            yield x
def check_cuts(lists, number, what):
    """That the keys of one level are cut into these lists by the rule."""
    keys, want = [k for keys in lists for k in keys], [0]
    for k in keys:
        want[-1] += 1
        if len(keys) > 1024 and (want[-1] == 4096 or want[-1] >= 128 and le(number(k)[:2]) % 512 == 0): want.append(0)
    need([len(x) for x in lists] == ([n for n in want if n] or [0]), f"{what}: not cut by the rule")

# ------------------------------------------------------------------- commands
def rfc3339(t):
    return (datetime(1970, 1, 1) + timedelta(seconds=t[0])).isoformat() + (f".{t[1]:09}" if t[1] else "") + "Z"
def plain(s):  # nothing in a repository writes control characters to a terminal
    return "".join(c if c.isprintable() else f"\\u{{{ord(c):x}}}" for c in s)
def show(*fields): print("\t".join(map(plain, fields)))
def cmd_list(repo):
    for i, s in repo.snapshots():
        show(i.hex(), rfc3339(s[1]), s[3], s.get(4, "-"), "incomplete" if s[8] else "complete")
def cmd_keys(repo):
    for name, params, note in repo.slots():
        derivation = {1: "passphrase", 2: "key-file"}.get(params[1], "unknown")
        show(name[5:], derivation, note.get(1, "-"), rfc3339(note[2]) if 2 in note else "-", note.get(3, "-"))

def cmd_check(repo):
    own, seen, total, count = {}, set(), 0, len(list(repo.slots()))
    repo.load_index()
    for name in repo.names("packs"):
        total += len(repo.read_whole(name))
        pack = own[name] = repo.open_pack(name)
        for s in pack.segments: repo.segment(pack, s)  # one without blobs, too
        for b in pack.blobs: repo.piece(b[0], pack, *b[1:])
    for p in repo.packs:  # as the index has them, or with --no-index the packs themselves
        need(p.seen == own[p.name].seen, f"{p.name}: index and pack disagree")
    snapshots = repo.snapshots()
    for sid, s in snapshots:
        todo = [(f"{sid.hex()[:12]}: {os.fsdecode(where)}", n) for _, where, n in s[6]]
        while todo:
            path, n = todo.pop()
            for c in [n.get(14)] + [x[1] for x in n.get(10, [])]:
                for i, length in repo.parts(c, path) if type(c) is list else ():
                    at = repo.found.get((False, i))  # its bytes were verified above
                    need(at, f"{path}: data blob {i.hex()} is missing")
                    need(all(e[3] == length for e in at), f"{path}: blob {i.hex()} has another length than is said")
            if n[2] == 1 and n[18] not in seen:
                seen.add(n[18])
                todo += [(path + "/" + os.fsdecode(m[1]), m) for m in repo.directory(n[18])]
    print(f"good: {len(snapshots)} snapshots, {count} key slots, {len(own)} packs"
          f" ({len(set(own) - {p.name for p in repo.packs})} in no index), {total} bytes")

def cmd_restore(repo, wanted, target):
    found = repo.snapshots()
    found = found[-1:] if wanted == "latest" else [x for x in found if x[0].hex().startswith(wanted)]
    need(len(found) == 1, f"snapshot {wanted}: {'several begin so' if found else 'not found'}")
    repo.load_index()
    links, dirs, trouble, root = {}, [], [], os.geteuid() == 0
    def attempt(path, f, *args, **kw):
        try: f(path, *args, **kw)
        except OSError as e: trouble.append(f"{os.fsdecode(path)}: {e.strerror}")
    def metadata(path, n):
        if root: attempt(path, os.chown, n.get(4, 0), n.get(5, 0), follow_symlinks=False)
        for name, value in n.get(10, []):  # after chown, which removes capabilities
            if type(value) is list: value = b"".join(repo.data(value, os.fsdecode(path)))
            attempt(path, os.setxattr, name, value, follow_symlinks=False)
        if n[2] != 2: attempt(path, os.chmod, n[3])
        t = n[8][0] * 10**9 + n[8][1]
        attempt(path, os.utime, ns=(t, t), follow_symlinks=False)
    def write_file(path, n):
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb", 0) as f:
            holes, p = n.get(15, [])[::-1], 0
            for x in repo.data(n.get(14, [0, b"", []]), os.fsdecode(path)):
                while x:
                    while holes and holes[-1][0] == p: p += holes.pop()[1]
                    k = os.pwrite(f.fileno(), x[:holes[-1][0] - p] if holes else x, p)
                    x, p = x[k:], p + k
            f.truncate(n.get(13, 0))
    def make(path, n):
        """Makes one node; never follows or replaces what is there, but enters a real directory."""
        group = tuple(n.get(12, ()))
        if n[2] == 1:
            if not os.path.lexists(path) or not stat.S_ISDIR(os.lstat(path).st_mode): os.mkdir(path, 0o700)
            dirs.append((path, n))  # the metadata of directories comes last
            for m in repo.directory(n[18]): make(os.path.join(path, m[1]), m)
            return
        if group and group in links:
            need(links[group][1] == n[2], f"{os.fsdecode(path)}: hard link to another type")
            return os.link(links[group][0], path, follow_symlinks=False)
        if n[2] in (3, 4) and not root:
            return trouble.append(f"{os.fsdecode(path)}: devices are made by root only")
        if n[2] == 0: write_file(path, n)
        elif n[2] == 2: os.symlink(n[19], path)
        else:
            kind = {3: stat.S_IFCHR, 4: stat.S_IFBLK, 5: stat.S_IFIFO, 6: stat.S_IFSOCK}[n[2]]
            os.mknod(path, kind | 0o600, os.makedev(*n.get(20, (0, 0))))
        links[group] = path, n[2]
        metadata(path, n)
    for _, name, n in sorted(found[0][1][6], key=lambda r: r[1].split(b"/")):
        path = os.fsencode(target)
        for part in name.split(b"/"):
            os.makedirs(path, exist_ok=True)
            path = os.path.join(path, part)
            need(not os.path.islink(path), f"{os.fsdecode(path)}: a restore name meets a symbolic link")
        make(path, n)
    for path, n in reversed(dirs): metadata(path, n)
    for t in trouble: print(f"bk_reader: warning: {plain(t)}", file=sys.stderr)
    return 3 if trouble else 0

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("repo")
    which = p.add_mutually_exclusive_group(required=True)
    for option in ("--key-file", "--password-file"): which.add_argument(option)
    p.add_argument("--no-index", action="store_true", help="read the packs' own tables instead of the index")
    p.add_argument("command", choices=["list", "restore", "check", "keys"])
    p.add_argument("args", nargs="*")
    a = p.parse_intermixed_args()
    if len(a.args) != (2 if a.command == "restore" else 0): p.error("only restore takes SNAPSHOT and DIR")
    sys.setrecursionlimit(20000)
    try:
        with open(a.key_file or a.password_file, "rb") as f: given = f.read()
        key = re.fullmatch(rb"\s*bk-key-1-((?:[\s-]*[0-9a-f]){64})[\s-]*", given)
        need(key or not a.key_file, f"{a.key_file}: no key file")
        secret = bytes.fromhex(re.sub(r"[\s-]", "", key[1].decode())) if a.key_file else None
        passphrase = None if a.key_file else re.sub(rb"\r?\n\Z", b"", given)  # one line end is not part of it
        repo = Repo(a.repo, passphrase, secret, a.no_index, a.command == "check")
        return globals()["cmd_" + a.command](repo, *a.args)
    except (Damage, OSError, OverflowError, UnicodeDecodeError, zstandard.ZstdError) as e:
        print(f"bk_reader: {plain(str(e))}", file=sys.stderr)
        return 1

if __name__ == "__main__":
    sys.exit(main())
