#!/usr/bin/env bash
# Builds the torture tree (T11): one small tree that holds everything a backup may meet.
#
#   torture.sh make DIR [--root|--user] [--small] [--entries N]
#   torture.sh clean DIR
#
# make   fills DIR, which must be missing or empty. --root (the default for root) adds what only root can make:
#        devices, foreign owners, mode 000, trusted.* and security.*, file capabilities, immutable and append-only.
#        --small keeps the kinds and cuts the amounts (for every test run). --entries N sets the size of many/
#        (default 20000, with --small 300; up to 1000000).
# clean  removes DIR, also with immutable or append-only entries and paths over PATH_MAX; fit for restored copies too.
#
# What the filesystem cannot hold is left out and named on stderr as "torture: skipped: …"; the tree is then still good.
# Deterministic but for the times nobody sets. Uses only coreutils, attr, acl, libcap2-bin, e2fsprogs and python3.
# Exit: 0 done · 1 failed · 2 usage.
set -euo pipefail

usage() {
    sed -n '4,5s/^# *//p' "$0" >&2
    exit 2
}

[ $# -ge 2 ] || usage
verb=$1
dir=$2
shift 2
case $dir in -*) usage ;; esac

clean() {
    [ -e "$dir" ] || [ -L "$dir" ] || return 0
    python3 - "$dir" <<'PY'
import fcntl, os, stat, sys

GET_FLAGS, SET_FLAGS, STUCK = 0x80086601, 0x40086602, 0x10 | 0x20  # append-only, immutable

def unstick(fd):
    try:
        flags = int.from_bytes(fcntl.ioctl(fd, GET_FLAGS, bytes(8))[:4], "little")
        if flags & STUCK:
            fcntl.ioctl(fd, SET_FLAGS, (flags & ~STUCK).to_bytes(8, "little"))
    except OSError:
        pass  # no flags here: then nothing is stuck

def opened(name, mode, at):
    extra = os.O_DIRECTORY if stat.S_ISDIR(mode) else os.O_NONBLOCK
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | extra, dir_fd=at)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=at)
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | extra, dir_fd=at)

# Descend by descriptor, `..` on the way back: any depth, two descriptors.
top = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
here = os.dup(top)
waiting = []
def enter(fd):
    unstick(fd)
    os.fchmod(fd, stat.S_IMODE(os.fstat(fd).st_mode) | 0o700)
    below = []
    for name in os.listdir(fd):
        mode = os.lstat(name, dir_fd=fd).st_mode
        if stat.S_ISDIR(mode):
            below.append(name)
        elif stat.S_ISREG(mode):
            try:
                file = opened(name, mode, fd)
            except PermissionError:
                continue
            unstick(file)
            os.close(file)
    waiting.append(below)
enter(here)
while waiting:
    if waiting[-1]:
        deeper = opened(waiting[-1].pop(), stat.S_IFDIR, here)
        os.close(here)
        here = deeper
        enter(here)
    else:
        waiting.pop()
        if waiting:
            above = os.open("..", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
            os.close(here)
            here = above
PY
    rm -rf -- "$dir"
}

make() {
    local as=user small=0 entries=
    [ "$(id -u)" -ne 0 ] || as=root
    while [ $# -gt 0 ]; do
        case $1 in
            --root) as=root ;;
            --user) as=user ;;
            --small) small=1 ;;
            --entries) entries=${2-}; shift ;;
            *) usage ;;
        esac
        shift
    done
    [ -n "$entries" ] || entries=$((small ? 300 : 20000))
    case $entries in *[!0-9]*) usage ;; esac
    mkdir -p -- "$dir"
    if [ -n "$(ls -A -- "$dir")" ]; then
        echo "torture: $dir is not empty" >&2
        exit 1
    fi
    cd -- "$dir"
    umask 022
    TORTURE_AS=$as TORTURE_SMALL=$small TORTURE_ENTRIES=$entries python3 - <<'PY'
import errno, fcntl, os, random, socket, stat, subprocess, sys, zlib

ROOT = os.environ["TORTURE_AS"] == "root"
SMALL = os.environ["TORTURE_SMALL"] == "1"
ENTRIES = int(os.environ["TORTURE_ENTRIES"])
KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
dice = random.Random(20260301)

def skipped(what, why):
    print(f"torture: skipped: {what}: {why}", file=sys.stderr)

def attempt(what, act, *arguments, **named):
    """Runs `act`; an OSError or a failing program means that this filesystem or user cannot hold `what`."""
    try:
        act(*arguments, **named)
        return True
    except (OSError, subprocess.CalledProcessError) as why:
        skipped(what, why)
        return False

def run(*words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

def put(path, content=b"", mode=0o644):
    with open(path, "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)

def folder(path):
    os.makedirs(path)
    return path

def noise(count):
    return dice.randbytes(count)

def prose(count):
    words = [b"backup", b"restore", b"of", b"the", b"same", b"line", b"again", b"and", b"\n", b"0000"]
    return (b" ".join(dice.choices(words, k=count // 4 + 16)))[:count].ljust(count, b".")

def sizes():
    folder("sizes")
    edges = [1, 512, 4 * KIB, 64 * KIB, 512 * KIB, MIB] + ([] if SMALL else [2 * MIB, 4 * MIB, 8 * MIB])
    for edge in edges:
        for size in sorted({max(edge - 1, 0), edge, edge + 1}):
            put(f"sizes/{size}.noise", noise(size))
            put(f"sizes/{size}.prose", prose(size))
    put("sizes/zeros", bytes(48 * KIB))  # written zeros: small, so that a hole in its place is within the tolerance
    folder("same")
    content = noise(MIB // 4 if SMALL else 2 * MIB)
    for number in range(12):
        put(f"same/{number}", content)
    put("same/shifted", b"+" + content)
    put("same/cut", content[:-1])
    folder("empty/a/b/c")
    folder("empty/d")
    for number in range(20):
        put(f"empty/file{number}")

def links():
    groups, spread = (40, 6) if SMALL else (400, 20)
    for number in range(spread):
        folder(f"links/{number:02}/deep")
    for group in range(groups):
        homes = dice.sample(range(spread), dice.randint(2, 5))
        first = f"links/{homes[0]:02}/g{group}"
        put(first, noise(dice.randint(0, 2 * KIB)))
        for home in homes[1:]:
            os.link(first, f"links/{home:02}/deep/g{group}")
    put("links/crowd", b"one file, many names")
    for number in range(50 if SMALL else 1000):
        os.link("links/crowd", f"links/{number % spread:02}/crowd{number}")
    os.symlink("g0", "links/00/symlink")
    os.mkfifo("links/00/fifo")
    bound("links/00/socket")
    for kind in ["symlink", "fifo", "socket"]:
        attempt(f"hard-linked {kind}", os.link, f"links/00/{kind}", f"links/01/{kind}", follow_symlinks=False)
    if ROOT and attempt("device", os.mknod, "links/00/device", stat.S_IFCHR | 0o600, os.makedev(1, 3)):
        os.link("links/00/device", "links/01/device")

def bound(path):
    home = os.getcwd()
    os.chdir(os.path.dirname(path))
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(os.path.basename(path))
    finally:
        os.chdir(home)

def hole(path, size, extents):
    with open(path, "wb") as file:
        file.truncate(size)
        for start, content in extents:
            os.pwrite(file.fileno(), content, start)

def sparse():
    folder("sparse")
    for size in [3 * GIB] if SMALL else [10 * TIB, TIB, 100 * GIB, 3 * GIB]:
        extents = [(0, noise(9000)), (size // 2 + 12345, noise(100_000)), (size - 5000, noise(5000))]
        try:
            hole("sparse/three-extents", size, extents)
            break
        except OSError as why:
            os.unlink("sparse/three-extents")
            skipped(f"sparse file of {size} bytes", why)
    hole("sparse/hole-at-start", 64 * MIB, [(64 * MIB - 300_000, noise(300_000))])
    hole("sparse/hole-at-end", 64 * MIB, [(0, noise(300_000))])
    hole("sparse/all-hole", 64 * MIB + 1, [])
    hole("sparse/all-hole-huge", 2 * GIB, [])
    hole("sparse/one-byte-hole-end", 4097, [(0, b"x")])
    hole("sparse/comb", 32 * MIB, [(start, noise(4096)) for start in range(0, 32 * MIB, 128 * KIB)])

def attributes():
    folder("xattr/folder")
    for name in ["plain", "empty", "binary", "large", "many", "names", "read-only"]:
        put(f"xattr/{name}", name.encode())
    os.setxattr("xattr/plain", "user.comment", b"hello")
    os.setxattr("xattr/empty", "user.empty", b"")
    os.setxattr("xattr/binary", "user.binary", bytes(range(256)))
    os.setxattr("xattr/folder", "user.folder", b"\n\0\xff")
    low, high = 0, 64 * KIB + 1  # the largest value this filesystem takes, in bytes
    while high - low > 1:
        middle = (low + high) // 2
        try:
            os.setxattr("xattr/large", "user.large", noise(middle))
            low = middle
        except OSError:
            high = middle
    os.setxattr("xattr/large", "user.large", noise(low))
    for number in range(30):
        os.setxattr("xattr/many", f"user.n{number:02}", b"v" * number)
    for name in [b"user." + b"n" * 250, b"user.\xff\xfe", b"user.a=b\nc d", "user.é".encode()]:
        attempt(f"attribute {name!r}", os.setxattr, b"xattr/names", name, b"value")
    os.setxattr("xattr/read-only", "user.kept", b"yes")
    os.chmod("xattr/read-only", 0o444)
    if ROOT:
        put("xattr/trusted")
        os.symlink("nowhere", "xattr/symlink")
        os.mkfifo("xattr/fifo")
        for name in ["trusted", "symlink", "fifo", "folder"]:
            attempt(f"trusted on {name}", os.setxattr, f"xattr/{name}", "trusted.bk", b"\1\2", follow_symlinks=False)

def access_lists():
    folder("acl/default/old-child")
    folder("acl/both")
    put("acl/file")
    put("acl/mask")
    put("acl/default/made-before")  # has no list of its own: a restore must not let it inherit one
    if not attempt("POSIX ACL", run, "setfacl", "-m", "u:1234:rw,g:4321:r", "acl/file"):
        return
    run("setfacl", "-m", "u:4294967000:rwx,m::r", "acl/mask")
    run("setfacl", "-d", "-m", "u:1234:rwx,g:4321:rx,o::-", "acl/default")
    run("setfacl", "-m", "u:99:x,d:u:99:r,d:g::-", "acl/both")
    put("acl/default/made-after")
    os.mkdir("acl/default/new-child")

def modes():
    folder("modes")
    for mode in [0o000, 0o400, 0o444, 0o555, 0o600, 0o666, 0o777, 0o1777, 0o2755, 0o4755, 0o6711, 0o4644, 0o2644, 0o7777]:
        if mode & 0o400 or ROOT:
            put(f"modes/file-{mode:04o}", b"#!/bin/sh\n", mode)
            folder(f"modes/dir-{mode:04o}/inside")
            put(f"modes/dir-{mode:04o}/inside/file", b"in")
            put(f"modes/dir-{mode:04o}/file", b"in")
    for mode in [0o000, 0o400, 0o444, 0o555, 0o600, 0o1777, 0o2755, 0o4755, 0o7777]:
        if mode & 0o400 or ROOT:
            os.chmod(f"modes/dir-{mode:04o}", mode)

def owners():
    folder("owners")
    for uid, gid in [(0, 12345), (1000, 1000), (65534, 65534), (100000, 200000), (2**31, 2**31 + 1), (2**32 - 2, 2**32 - 2)]:
        put(f"owners/{uid}-{gid}", b"x")
        os.symlink("target", f"owners/{uid}-{gid}.link")
        os.mkdir(f"owners/{uid}-{gid}.dir")
        for end in ["", ".link", ".dir"]:
            attempt(f"owner {uid}:{gid}", os.chown, f"owners/{uid}-{gid}{end}", uid, gid, follow_symlinks=False)
    put("owners/setuid")
    os.chown("owners/setuid", 4242, 4243)
    os.chmod("owners/setuid", 0o6755)
    folder("owners/setgid-dir")
    os.chown("owners/setgid-dir", 0, 4321)
    os.chmod("owners/setgid-dir", 0o2775)
    put("owners/setgid-dir/other-group")
    os.chown("owners/setgid-dir/other-group", 7, 8)

def capabilities():
    folder("capabilities")
    for name, words in {"ping": ["cap_net_raw+ep"], "both": ["cap_net_bind_service,cap_chown+eip"], "rootid": ["-n", "1000", "cap_net_raw+ep"]}.items():
        put(f"capabilities/{name}", b"\x7fELF", 0o755)
        os.chown(f"capabilities/{name}", 5, 6)
        attempt(f"capability {name}", run, "setcap", *words[:-1], words[-1], f"capabilities/{name}")

def special():
    folder("special")
    os.mkfifo("special/fifo", 0o640)
    bound("special/socket")
    if ROOT:
        for name, kind, major, minor in [("null", stat.S_IFCHR, 1, 3), ("char-high", stat.S_IFCHR, 511, 1048575),
                ("block", stat.S_IFBLK, 7, 200), ("block-high", stat.S_IFBLK, 259, 70000), ("whiteout", stat.S_IFCHR, 0, 0)]:
            attempt(f"device {name}", os.mknod, f"special/{name}", kind | 0o620, os.makedev(major, minor))

def names():
    folder("names/bytes")
    for value in range(1, 256):
        if value not in b"./":
            put(b"names/bytes/" + bytes([value]), bytes([value]))
    odd = [b"\xff\xfe not utf-8 \x80", b"line\nbreak", b"\n", b"trailing newline\n", b"tab\there", b"\r", b"\x1b[31mred\x1b[0m", b"-rf", b"--",
        b"--help", b"...", b"....", b".hidden", b"..x", b" ", b" lead", b"trail ", b"a  b", b"'", b'"', b'both\'"', b"back\\slash", b"\\n", b"\\",
        b"$(touch pwned)", b"`id`", b"*", b"?", b"[a]", b"{a,b}", b"~", b"#", b"%s%n", b"a:b", b"C:", b"CON", b"nul.", b"a;b", b"a|b", b"&", b"<>",
        b"n" * 255, b"\xff" * 255, ("\u00e9" * 127).encode(), "caf\u00e9".encode(), "cafe\u0301".encode(), b"Case", b"case", b"CASE",
        "\u202egnp.exe".encode(), "\u200b".encode(), "\ufeff".encode(), "\U0001f600".encode(), b"\xed\xa0\x80", b"\xc0\xaf", b"name=value"]
    for name in odd:
        if attempt(f"name {name[:20]!r}", put, b"names/" + name, b"content of " + name):
            os.mkdir(b"names/bytes/" + name + b"d" if len(name) < 255 else b"names/bytes/d" + name[1:])

def deep():
    """Paths far over PATH_MAX (4096 bytes): few long names, and many short ones."""
    for top, name, levels in [("long", "L" * 200, 20 if SMALL else 60), ("short", "s", 300 if SMALL else 700)]:
        here = os.open(".", os.O_RDONLY)
        for level, each in enumerate(["deep", top] + [name] * levels):
            try:
                os.mkdir(each, dir_fd=here)
            except FileExistsError:
                pass
            below = os.open(each, os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
            os.close(here)
            here = below
            if level % 25 == 2:
                with open(os.open("file", os.O_CREAT | os.O_WRONLY, 0o640, dir_fd=here), "wb") as file:
                    file.write(b"level %d" % level)
        with open(os.open("bottom", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=here), "wb") as file:
            file.write(noise(5000))
            file.flush()
            attempt("attribute at depth", os.setxattr, file.fileno(), "user.deep", b"down")
        os.link("bottom", "bottom-link", src_dir_fd=here, dst_dir_fd=here)
        os.symlink("bottom", "symlink", dir_fd=here)
        os.mkfifo("fifo", dir_fd=here)
        os.utime("bottom", ns=(-7, -7), dir_fd=here)
        os.close(here)

def symlinks():
    folder("symlinks/folder")
    long = "t/" * 2000 + "end"
    for name, target in {"dangling": "no/such", "self": "self", "loop-a": "loop-b", "loop-b": "loop-a", "absolute": "/etc/passwd", "root": "/",
            "up": "..", "far-up": "../../../../../../../../etc", "here": ".", "to-folder": "folder", "slash": "folder/", "long": long,
            "longest": "x" * 4095, "line": "a\nb", "space": " ", "dash": "-rf"}.items():
        attempt(f"symlink {name}", os.symlink, target, f"symlinks/{name}")
    os.symlink(b"\xff\xfe", b"symlinks/not-utf-8")
    put("symlinks/folder/file", b"behind a link")

def many():
    folder("many")
    os.chdir("many")
    for number in range(ENTRIES):
        os.close(os.open(f"{zlib.crc32(b'%d' % number):08x}-{number}", os.O_CREAT | os.O_WRONLY, 0o644))
    os.chdir("..")

def times():
    folder("times")
    second = 10**9
    moments = {"before-epoch": -1, "epoch": 0, "1969": -86400 * second + 123456789, "1902": -2145916800 * second + 1, "one-ns": 1,
        "2038": (2**31 - 1) * second + 999999999, "2038-after": 2**31 * second, "2106": 2**32 * second + 5, "2200": 7258118400 * second + 987654321,
        "2446": 15032385535 * second}
    for name, moment in moments.items():
        put(f"times/{name}", name.encode())
        os.symlink("x", f"times/{name}.link")
        os.mkfifo(f"times/{name}.fifo")
        folder(f"times/{name}.dir/inner")
        for end in ["", ".link", ".fifo", ".dir/inner", ".dir"]:
            attempt(f"mtime {name}", os.utime, f"times/{name}{end}", ns=(second, moment), follow_symlinks=False)

def flags():
    """Last: what is immutable cannot be given anything afterwards."""
    folder("flags/immutable-dir/inside")
    folder("flags/append-dir")
    for name in ["immutable", "append", "no-dump", "immutable-dir/file", "append-dir/file", "link"]:
        put(f"flags/{name}", name.encode())
    os.link("flags/link", "flags/link-too")
    os.setxattr("flags/immutable", "user.kept", b"yes")
    os.utime("flags/immutable", ns=(5, 1_000_000_007))
    os.utime("flags/immutable-dir", ns=(5, 2_000_000_011))
    attempt("no-dump flag", run, "chattr", "+d", "flags/no-dump")
    if ROOT:
        for name, flag in {"append": "+a", "append-dir": "+a", "immutable": "+i", "immutable-dir": "+i", "link": "+i"}.items():
            attempt(f"flag {flag}", run, "chattr", flag, f"flags/{name}")

chapters = [("sizes", sizes), ("links", links), ("sparse", sparse), ("xattr", attributes), ("acl", access_lists), ("modes", modes),
    ("special", special), ("names", names), ("deep", deep), ("symlinks", symlinks), ("many", many), ("times", times)]
if ROOT:
    chapters += [("owners", owners), ("capabilities", capabilities)]
for chapter, fill in chapters + [("flags", flags)]:
    attempt(f"rest of {chapter}", fill)
PY
}

case $verb in
    make) make "$@" ;;
    clean) [ $# -eq 0 ] || usage; clean ;;
    *) usage ;;
esac
