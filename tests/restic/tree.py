"""Builds a tree that holds what a backup may meet and what restic can carry.

    python3 tree.py DIR [--more]

DIR must be missing or empty. With --more it also holds what restic 0.14 loses on its own way back: holes, sockets, and
targets of links that are no UTF-8. What the file system cannot hold is left out and named on stderr. Deterministic but for the
times that nobody sets. Root makes devices and foreign owners too.
"""
import hashlib, os, random, socket, stat, subprocess, sys

KIB, MIB = 1 << 10, 1 << 20
ROOT = os.geteuid() == 0
dice = random.Random(20)
os.makedirs(sys.argv[1], exist_ok=True)
os.chdir(sys.argv[1])
os.umask(0o022)


def noise(length):
    return dice.randbytes(length)


def prose(length):
    line = b"".join(b"%d the quick brown fox %d\n" % (n, n * n % 977) for n in range(length // 24 + 2))
    return line[:length]


def put(path, content=b"", mode=0o644):
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, mode)


def attempt(what, act, *words, **named):
    try:
        act(*words, **named)
        return True
    except (OSError, subprocess.CalledProcessError) as why:
        print(f"tree: skipped: {what}: {why}", file=sys.stderr)
        return False


def run(*words):
    subprocess.run(words, check=True, capture_output=True)


def names():
    os.mkdir("names")
    odd = [b"\xff\xfe not utf-8 \x80", b"\xc3\x28", b"caf\xe9", b"line\nbreak", b"\n", b"tab\there", b"\r", b"\x01\x7f", b"\x1b[31mred", b"-rf", b"--help",
        b"...", b".hidden", b" ", b" lead", b"trail ", b"'", b'"', b'both\'"', b"back\\slash", b"\\", b"\\n", b"\\x41", b"\\u00e9", b"$(x)", b"*", b"[a]",
        b"%s%n", b"a:b", b"n" * 255, b"\xff" * 255, "\u00e9".encode() * 127, "caf\u00e9".encode(), "cafe\u0301".encode(), b"Case", b"case",
        "\u202egnp".encode(), "\ufeff".encode(), "\ufffd".encode(), "\U0001f600".encode(), b"\xed\xa0\x80", b"\xc0\xaf", b"a\xffb", b"a\xfeb"]
    for name in odd:
        put(b"names/" + name, b"content of " + name)
    os.mkdir(b"names/folder \xff\n\"\\")
    put(b"names/folder \xff\n\"\\/in", b"in")


def sizes():
    os.mkdir("sizes")
    put("sizes/empty")
    put("sizes/one", b"1")
    put("sizes/two-are-empty")
    # 512 KiB and 8 MiB are the bounds of restic's chunks; zeros have no cut but at the longest.
    for size in [511, 512, 513, 512 * KIB - 1, 512 * KIB, 512 * KIB + 1, MIB, 2 * MIB + 1]:
        put(f"sizes/{size}.noise", noise(size))
        put(f"sizes/{size}.prose", prose(size))
    for size in [8 * MIB - 1, 8 * MIB, 8 * MIB + 1]:
        put(f"sizes/{size}.same", b"\x5a" * size)
    film = noise(30_000_000)
    put("sizes/film", film)
    put("sizes/film-again", film[:3_000_000] + b"cut in" + film[3_000_000:6_000_000])
    put("sizes/twice", prose(900_000))
    put("sizes/twice-too", prose(900_000))


def links():
    for folder in ["links/a/deep", "links/b"]:
        os.makedirs(folder)
    for number in range(5):
        put(f"links/a/file{number}", noise(3000 + number))
        os.link(f"links/a/file{number}", f"links/a/deep/file{number}")
        os.link(f"links/a/file{number}", f"links/b/other{number}")
    put("links/empty")
    os.link("links/empty", "links/b/empty")
    for name, target in {"dangling": "no/such", "self": "self", "absolute": "/etc/passwd", "up": "../../../..", "here": ".", "to-folder": "a",
            "line": "a\nb", "quote": "a\"\\b", "long": "t/" * 1000 + "end", "accent": "\u00e9"}.items():
        os.symlink(target, f"links/{name}")


def special():
    os.mkdir("special")
    os.mkfifo("special/fifo", 0o640)
    if ROOT:
        for name, kind, major, minor in [("null", stat.S_IFCHR, 1, 3), ("high", stat.S_IFCHR, 511, 1048575), ("block", stat.S_IFBLK, 7, 200)]:
            attempt(f"device {name}", os.mknod, f"special/{name}", kind | 0o620, os.makedev(major, minor))


def modes():
    os.mkdir("modes")
    for mode in [0o400, 0o444, 0o600, 0o666, 0o777, 0o1777, 0o2755, 0o4755, 0o6711, 0o7777] + ([0o000, 0o4644] if ROOT else []):
        put(f"modes/file-{mode:04o}", b"#!/bin/sh\n")
        os.mkdir(f"modes/folder-{mode:04o}")
        put(f"modes/folder-{mode:04o}/in", b"in")
    if not ROOT:
        return
    os.mkdir("owners")
    for uid, gid in [(0, 12345), (1000, 1000), (65534, 65534), (100000, 200000), (2**31, 2**31 + 1), (2**32 - 2, 2**32 - 2)]:
        put(f"owners/{uid}-{gid}", b"x")
        os.symlink("target", f"owners/{uid}-{gid}.link")
        os.mkdir(f"owners/{uid}-{gid}.folder")
        for end in ["", ".link", ".folder"]:
            attempt(f"owner {uid}:{gid}", os.chown, f"owners/{uid}-{gid}{end}", uid, gid, follow_symlinks=False)
    put("owners/setuid")
    os.chown("owners/setuid", 4242, 4243)


def set_modes():
    """After everything is in them."""
    for name in os.listdir("modes"):
        os.chmod(f"modes/{name}", int(name.rpartition("-")[2], 8))
    if ROOT:
        os.chmod("owners/setuid", 0o6755)


def attributes():
    os.makedirs("xattr/folder")
    for name in ["plain", "binary", "large", "many", "names"]:
        put(f"xattr/{name}", name.encode())
    ours = [("plain", b"user.comment", b"hello"), ("binary", b"user.binary", bytes(range(256))), ("folder", b"user.folder", b"\n\0\xff"), ("plain", b"user.empty", b""),
        ("large", b"user.large", noise(3000)), ("names", b"user.a=b c", b"v"), ("names", "user.\u00e9".encode(), b"v"), ("names", b"user." + b"n" * 240, b"v")]
    ours += [("many", b"user.n%02d" % number, b"v" * (number + 1)) for number in range(30)]
    for file, name, value in ours:
        attempt(f"attribute {name!r}", os.setxattr, f"xattr/{file}".encode(), name, value)
    if ROOT:
        attempt("trusted attribute", os.setxattr, "xattr/plain", "trusted.bk", b"\1\2")
        attempt("capability", run, "setcap", "cap_net_raw+ep", "xattr/binary")
    os.makedirs("acl/default")
    put("acl/file")
    put("acl/mask")
    if attempt("access list", run, "setfacl", "-m", "u:1234:rw,g:4321:r", "acl/file"):
        run("setfacl", "-m", "u:99:rwx,m::r", "acl/mask")
        run("setfacl", "-d", "-m", "u:1234:rwx,o::-", "acl/default")
        put("acl/default/made-after")


def many():
    os.makedirs("empty/a/b/c")
    os.makedirs("empty/d")
    os.mkdir("many")
    for number in range(3000):
        put(f"many/{hashlib.sha1(b'%d' % number).hexdigest()[:8]}-{number}", b"%d" % number if number % 10 == 0 else b"")
    below = "deep"
    os.mkdir(below)
    for level in range(60):
        below += f"/level{level:02}"
        os.mkdir(below)
    put(f"{below}/bottom", b"down here")


def more():
    """What restic loses."""
    os.mkdir("more")
    with open("more/holes", "wb") as file:
        file.truncate(24 * MIB)
        for start in [0, 9 * MIB + 77, 20 * MIB]:
            os.pwrite(file.fileno(), noise(100_000), start)
    with open("more/all-hole", "wb") as file:
        file.truncate(4 * MIB + 1)
    home = os.getcwd()
    os.chdir("more")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind("socket")
    os.chdir(home)
    os.symlink(b"\xff\xfe", b"more/not-utf-8")


def times():
    os.mkdir("times")
    second = 10**9
    moments = {"before-epoch": -1, "epoch": 0, "1969": -86400 * second + 123456789, "1902": -2145916800 * second + 1, "one-ns": 1,
        "2038": (2**31 - 1) * second + 999999999, "2106": 2**32 * second + 5, "2200": 7258118400 * second + 987654321}
    for name, moment in moments.items():
        put(f"times/{name}", name.encode())
        os.symlink("x", f"times/{name}.link")
        os.makedirs(f"times/{name}.folder/inner")
        for end in ["", ".link", ".folder/inner", ".folder"]:
            attempt(f"time {name}", os.utime, f"times/{name}{end}", ns=(second, moment), follow_symlinks=False)
    for path, folders, files in os.walk(b".", topdown=False):
        if not path.startswith(b"./times"):
            os.utime(path, ns=(second, 1_600_000_000 * second + len(path) * 1_234_567))


for chapter in [names, sizes, links, special, modes, attributes, many] + ([more] if "--more" in sys.argv else []) + [set_modes, times]:
    chapter()
