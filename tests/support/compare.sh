#!/usr/bin/env bash
# Says whether directory B is what directory A was. Shares nothing with bk: what bk believes about a tree is not asked.
#
#   compare.sh A B
#
# Exit: 0 identical · 1 different · 2 usage, or something could not be read (so nothing was proved).
# Every difference is one line on stdout: `layer: path: attribute: A's value | B's value`; names are escaped as in
# Python. At most COMPARE_MAX (default 200) lines a layer; the last line of a layer says how many it held back.
#
# Three layers, each able to fail alone:
#   find   find -printf: type, mode, owner, size, mtime (ns), symlink target, link count.
#   walk   python3 by descriptor, any name and depth: the same, and device numbers, hard-link groups (which names share
#          an inode), SHA-256 of contents, attributes (ACLs and capabilities among them, as stored), inode flags, space.
#   tools  getfacl, getfattr, getcap and lsattr on every path below 3000 bytes, their output compared as text.
#
# Not compared, because no restore can set it or it depends on the filesystem's history: atime, ctime, birth time, inode
# and device of the filesystem, size and link count of directories, inode flags that tell how a file is laid out.
# Files over 1 GiB: only what lies around data extents is read (64 KiB windows that are all zero count as holes), and
# the extent maps are compared. Space: when A's or B's file is sparse, allocated bytes may differ by 5 % or 64 KiB.
set -euo pipefail
export LC_ALL=C

if [ $# -ne 2 ] || [ ! -d "$1" ] || [ ! -d "$2" ] || [ "$1" -ef "$2" ]; then
    echo "usage: compare.sh A B    (two different directories)" >&2
    exit 2
fi
for tool in find sort python3 getfacl getfattr getcap lsattr diff; do
    if ! command -v "$tool" >/dev/null && ! PATH=$PATH:/sbin:/usr/sbin command -v "$tool" >/dev/null; then
        echo "compare: $tool is not installed (Debian: acl attr libcap2-bin e2fsprogs)" >&2
        exit 2
    fi
done
PATH=$PATH:/sbin:/usr/sbin
A=$(realpath -- "$1")
B=$(realpath -- "$2")
most=${COMPARE_MAX:-200}
work=$(mktemp -d "${TMPDIR:-/tmp}/compare.XXXXXX")
trap 'rm -rf -- "$work"' EXIT

# A record is one line, `path<TAB>name=value<TAB>…`, in ASCII without control characters.
cat > "$work/records.py" <<'PY'
import fcntl, hashlib, os, stat, sys

FLAGS = {0x1: "s", 0x2: "u", 0x4: "c", 0x8: "S", 0x10: "i", 0x20: "a", 0x40: "d", 0x80: "A", 0x400: "m", 0x4000: "j", 0x8000: "t",
    0x10000: "D", 0x20000: "T", 0x800000: "C", 0x2000000: "x", 0x20000000: "P", 0x40000000: "F"}
SET, GET_FLAGS = sum(FLAGS), 0x80086601
WINDOW, GIB = 64 << 10, 1 << 30
ZEROS = bytes(WINDOW)
PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+,=@ ")

def escaped(raw):
    if PLAIN.issuperset(raw):
        return raw.decode()
    return raw.decode("latin-1").encode("unicode_escape").decode()

def short(path):
    return path if len(path) <= 400 else f"{path[:190]}...{path[-190:]} ({len(path)} characters)"

def brief(value):
    return value.hex() if len(value) <= 64 else f"{len(value)}B:{hashlib.sha256(value).hexdigest()}"

def from_find():
    """`find -printf` records of nine NUL-ended fields on stdin."""
    rest, fields, out = b"", [], sys.stdout.write
    while block := sys.stdin.buffer.read(1 << 20):
        *whole, rest = (rest + block).split(b"\0")
        fields += whole
        usable = len(fields) - len(fields) % 9
        for at in range(0, usable, 9):
            path, kind, mode, uid, gid, size, mtime, target, links = fields[at:at + 9]
            plain = b"\ttype=%s\tmode=%s\tuid=%s\tgid=%s\tsize=%s\tmtime=%s\tlinks=%s\ttarget=" % (kind, mode, uid, gid, size, mtime, links)
            out(f"{escaped(path) or '.'}{plain.decode()}{escaped(target)}\n")
        del fields[:usable]
    if rest or fields:
        sys.exit("compare: find ended in the middle of a record")

class Walk:
    def __init__(self, top, lists):
        self.top, self.count, self.failed = top, 0, False
        self.seen = {}  # (device, inode) of a file with several names → first name, its contents
        self.lists = {name: open(f"{lists}.{name}", "wb") for name in ["all", "getfacl", "getcap", "lsattr"]}

    def complain(self, path, why):
        print(f"compare: {self.top}/{escaped(path)}: {why}", file=sys.stderr)
        self.failed = True

    def opened(self, name, at, extra):
        how = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | extra
        try:
            return os.open(name, how | os.O_NOATIME, dir_fd=at)
        except PermissionError:
            return os.open(name, how, dir_fd=at)

    def run(self):
        here = os.open(self.top, os.O_RDONLY | os.O_DIRECTORY)
        self.record(b".", b".", here)
        waiting = [(b"", self.folder(b"", here))]
        while waiting:  # `..` on the way back: two descriptors at any depth
            above, below = waiting[-1]
            if not below:
                waiting.pop()
                if waiting:
                    parent = os.open("..", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
                    os.close(here)
                    here = parent
                continue
            name = below.pop()
            path = above + b"/" + name if above else name
            try:
                deeper = self.opened(name, here, os.O_DIRECTORY)
            except OSError as why:
                self.complain(path, why)
                continue
            os.close(here)
            here = deeper
            waiting.append((path, self.folder(path, here)))
        for each in self.lists.values():
            each.close()

    def folder(self, path, fd):
        below = []
        for name in sorted(map(os.fsencode, os.listdir(fd))):
            full = path + b"/" + name if path else name
            try:
                if self.record(full, name, fd):
                    below.append(name)
            except OSError as why:
                self.complain(full, why)
        return below[::-1]

    def record(self, path, name, at):
        is_dir, fields = self.facts(path, name, at)
        sys.stdout.write("\t".join([escaped(path)] + fields) + "\n")
        self.count += 1
        return is_dir

    def facts(self, path, name, at):
        was = os.lstat(name, dir_fd=at)
        kind = stat.S_IFMT(was.st_mode)
        is_dir, is_file = kind == stat.S_IFDIR, kind == stat.S_IFREG
        fields = [f"type={kind:o}", f"mode={stat.S_IMODE(was.st_mode):04o}", f"uid={was.st_uid}", f"gid={was.st_gid}", f"mtime={was.st_mtime_ns}"]
        if not is_dir:
            fields += [f"size={was.st_size}", f"links={was.st_nlink}"]
        if kind == stat.S_IFLNK:
            fields.append("target=" + escaped(os.readlink(name, dir_fd=at)))
        if kind in (stat.S_IFCHR, stat.S_IFBLK):
            fields.append(f"device={os.major(was.st_rdev)}:{os.minor(was.st_rdev)}")
        by_fd = b"/proc/self/fd/%d/%s" % (at, name)
        for key in sorted(os.listxattr(by_fd, follow_symlinks=False)):
            fields.append(f"xattr {escaped(os.fsencode(key))}=" + brief(os.getxattr(by_fd, key, follow_symlinks=False)))
        if len(path) < 3000:
            listed = ["all"] + ["getfacl"] * (kind != stat.S_IFLNK) + ["getcap"] * is_file + ["lsattr"] * (is_file or is_dir)
            for each in listed:
                self.lists[each].write(b"./" + path + b"\0")
        first = self.seen.get((was.st_dev, was.st_ino)) if was.st_nlink > 1 and not is_dir else None
        contents = first[1] if first else []
        if not first and (is_file or is_dir):
            fd = self.opened(name, at, os.O_DIRECTORY if is_dir else 0)
            try:
                contents = [self.flags(fd)] + (self.contents(fd, was) if is_file else [])
            finally:
                os.close(fd)
        fields += contents
        if was.st_nlink > 1 and not is_dir:
            first = self.seen.setdefault((was.st_dev, was.st_ino), (path, contents))
            fields.append("linked-with=" + escaped(first[0]))
        return is_dir, fields

    def flags(self, fd):
        try:
            bits = int.from_bytes(fcntl.ioctl(fd, GET_FLAGS, bytes(8))[:4], "little")
        except OSError:
            return "flags="
        if not bits & SET:
            return "flags="
        return "flags=" + "".join(letter for bit, letter in FLAGS.items() if bits & bit)

    def contents(self, fd, was):
        space = f"allocated={was.st_blocks * 512}"
        if was.st_size > GIB:
            return [space] + self.sparse(fd, was.st_size)
        digest, left = hashlib.sha256(), was.st_size
        while block := os.read(fd, min(max(left, 0) + 1, 1 << 20)):
            digest.update(block)
            left -= len(block)
        if left:
            raise OSError(f"{was.st_size} bytes long, {was.st_size - left} bytes read")
        return [space, "sha256=" + digest.hexdigest()]

    def sparse(self, fd, size):
        digest, extents, end, done = hashlib.sha256(b"%d" % size), [], 0, 0
        while end < size:
            try:
                start = os.lseek(fd, end, os.SEEK_DATA)
            except OSError as why:
                if why.errno != 6:  # ENXIO: no data from here on
                    raise
                break
            end = os.lseek(fd, start, os.SEEK_HOLE)
            extents.append(f"{start}+{end - start}")
            for window in range(max(start - start % WINDOW, done), end, WINDOW):
                block = os.pread(fd, WINDOW, window)
                if block != ZEROS[:len(block)]:
                    digest.update(b"%d:" % window + block)
                done = window + WINDOW
        shown = " ".join(extents[:4])
        return ["sha256=" + digest.hexdigest(), f"extents={len(extents)} {brief(' '.join(extents).encode())} {shown}"]

def from_walk(top, lists):
    walk = Walk(os.fsencode(top).decode(errors="surrogateescape"), lists)
    walk.run()
    with open(f"{lists}.count", "w") as file:
        print(walk.count, file=file)
    sys.exit(2 if walk.failed else 0)

def apart(one, other):
    """The attributes in which two records of the same path differ: (name, A's value, B's value)."""
    one, other = (dict(field.split("=", 1) if not field.startswith("xattr ") else field.rsplit("=", 1)
        for field in record) for record in (one, other))
    for name in sorted(one.keys() | other.keys()):
        ours, theirs = one.get(name), other.get(name)
        if ours == theirs:
            continue
        if name == "allocated" and ours and theirs:
            ours, theirs = int(ours), int(theirs)
            full = max(ours - int(one["size"]), theirs - int(other["size"])) >= 0 and min(ours - int(one["size"]), theirs - int(other["size"])) >= 0
            if full or abs(ours - theirs) <= max(64 << 10, max(ours, theirs) // 20):
                continue
        yield name, "(none)" if ours is None else ours, "(none)" if theirs is None else theirs

def merge(layer, left, right, most):
    """Two sorted record files, read side by side."""
    count = 0
    def say(*words):
        nonlocal count
        count += 1
        if count <= most:
            print(layer, short(words[0]), *words[1:], sep=": ")
    with open(left) as one, open(right) as other:
        a, b = one.readline(), other.readline()
        while a or b:
            if a == b:
                a, b = one.readline(), other.readline()
                continue
            (path, *ours), (path_b, *theirs) = a.rstrip("\n").split("\t"), b.rstrip("\n").split("\t")
            if not b or (a and path < path_b):
                say(path, "only in A")
                a = one.readline()
            elif not a or path_b < path:
                say(path_b, "only in B")
                b = other.readline()
            else:
                for name, in_a, in_b in apart(ours, theirs):
                    say(path, name, f"{in_a} | {in_b}")
                a, b = one.readline(), other.readline()
    if count > most:
        print(f"{layer}: and {count - most} more")
    sys.exit(1 if count else 0)

verb, *words = sys.argv[1:]
if verb == "find":
    from_find()
elif verb == "walk":
    from_walk(*words)
else:
    merge(*words[:3], int(words[3]))
PY

# The three layers are called by name through `both`.
# shellcheck disable=SC2317
find_records() { # ROOT SIDE
    cd -- "$1"
    find . \( -type d -printf '%P\0%y\0%m\0%U\0%G\0-\0%T@\0\0-\0' \) -o -printf '%P\0%y\0%m\0%U\0%G\0%s\0%T@\0%l\0%n\0' |
        python3 "$work/records.py" find | sort -T "$work" -S 256M > "$work/$2.find"
}

# shellcheck disable=SC2317
walk_records() { # ROOT SIDE
    python3 "$work/records.py" walk "$1" "$work/$2" | sort -T "$work" -S 256M > "$work/$2.walk"
}

# shellcheck disable=SC2317
tools_output() { # ROOT SIDE
    cd -- "$1"
    xargs -0 -r -a "$work/$2.getfacl" getfacl -n -p -- > "$work/$2.getfacl.out" 2> "$work/$2.getfacl.err" || return 2
    xargs -0 -r -a "$work/$2.all" getfattr -d -m - -e hex -h -- > "$work/$2.getfattr.out" 2> "$work/$2.getfattr.err" || return 2
    xargs -0 -r -a "$work/$2.getcap" getcap -n > "$work/$2.getcap.out" 2> "$work/$2.getcap.err" || return 2
    # Letters that tell the layout (encrypted, huge, indexed, inline, verity, extents) are the filesystem's own.
    xargs -0 -r -a "$work/$2.lsattr" lsattr -d 2> /dev/null | sed -E ':again; s/^([-a-zA-Z]*)[EhINVe]([-a-zA-Z]* \.\/)/\1-\2/; t again' \
        > "$work/$2.lsattr.out" || : # fails on entries without flags; the walk compares those too
}

outcome=0
both() { # FUNCTION: runs it on A and B side by side
    "$1" "$A" A & local left=$!
    "$1" "$B" B & local right=$!
    wait "$left" || unproved "$1" A
    wait "$right" || unproved "$1" B
}
unproved() { # FUNCTION SIDE
    cat "$work/$2".*.err >&2 2> /dev/null || :
    echo "compare: $1 failed on $2: nothing is proved" >&2
    incomplete=1
}
differ() { outcome=1; }
incomplete=0

both walk_records
both find_records
both tools_output

for layer in find walk; do
    python3 "$work/records.py" merge "$layer" "$work/A.$layer" "$work/B.$layer" "$most" || differ
done
for side in A B; do
    if [ "$(wc -l < "$work/$side.find")" != "$(cat "$work/$side.count" 2> /dev/null || echo none)" ]; then
        echo "compare: find and the walk saw different numbers of entries in $side: nothing is proved" >&2
        incomplete=1
    fi
done
tools="getfacl getfattr getcap"
if (cd -- "$A" && lsattr -d . && cd -- "$B" && lsattr -d .) > /dev/null 2>&1; then
    tools="$tools lsattr"
fi
for tool in $tools; do
    if ! cmp -s "$work/A.$tool.out" "$work/B.$tool.out"; then
        differ
        diff -a -U2 --label "A" --label "B" "$work/A.$tool.out" "$work/B.$tool.out" > "$work/diff" || :
        sed -e '1,2d' -e "s/^/$tool: /" "$work/diff" | head -n "$most" | cat -v | cut -c 1-400 || : # head leaves early
    fi
done

if [ "$outcome" -eq 0 ] && [ "$incomplete" -ne 0 ]; then
    outcome=2
fi
exit "$outcome"
