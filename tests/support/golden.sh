#!/usr/bin/env bash
# Makes a golden repository with the given program: golden.sh BK DIR. Golden repositories are only ever added to,
# never made again: they prove that what an old version wrote can be read.
set -euo pipefail
bk=$(realpath "$1")
out=$2
mkdir -p "$out"
out=$(realpath "$out")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 - "$work/source" <<'PY'
import os, sqlite3, sys
root = sys.argv[1]
os.makedirs(root + "/many"), os.makedirs(root + "/empty")
def put(name, data):
    with open(root + "/" + name, "wb") as file:
        file.write(data)
put("text", b"all work and no play makes a dull backup\n" * 4000)
put("noise", b"".join(((i * 2654435761) & 0xFFFFFFFF).to_bytes(4, "big") for i in range(5000)))
put("nothing", b"")
os.link(root + "/text", root + "/empty/../hard-link")
os.symlink("text", root + "/link")
os.symlink("/nowhere/at/all", root + "/dangling")
os.mkfifo(root + "/pipe")
with open(root + "/sparse", "wb") as file:
    file.truncate(50 << 20)
    file.seek(20 << 20)
    file.write(b"in the middle of nowhere" * 500)
with open(os.fsencode(root) + b"/not-utf8-\xff\xfe\n", "wb") as file:
    file.write(b"odd name\n")
for number in range(1300):
    put("many/entry-%05d" % number, b"%d\n" % number if number % 40 == 0 else b"")
base = sqlite3.connect(root + "/pages.db")
base.execute("pragma page_size = 512")
base.execute("create table words(id integer primary key, word text)")
base.executemany("insert into words(word) values (?)", (("word %d " % n * 20,) for n in range(2200)))
base.commit()
base.close()
try:
    os.setxattr(root + "/text", "user.note", b"kept\x00too")
    os.setxattr(root + "/text", "user.large", b"x" * 3900)
except OSError as error:
    sys.exit(f"the file system has no extended attributes: {error}")
os.chmod(root + "/text", 0o4750)
for path, _, names in os.walk(root, topdown=False):
    for number, name in enumerate(sorted(names) + [""]):
        os.utime(os.path.join(path, name), ns=(0, -86400_000_000_000 + number * 1_000_000_001), follow_symlinks=False)
PY

export BK_DATA_DIR=$work/data
"$bk" --quiet backup "$work/source"
echo "later" >> "$work/source/text"
touch -d '2001-02-03 04:05:06.789 UTC' "$work/source/text" "$work/source"
"$bk" --quiet backup --tag golden "$work/source"
printf 'correct horse battery staple' > "$out/password"
cp "$work/data/key" "$out/key"
"$bk" --quiet key add --label password --new-password-file "$out/password"
cp -r "$work/data/repository" "$out/repository"
rm -rf "$out/repository/tmp"

# What a restore of the newest snapshot must give: type, mode, length, time, hash or target, path.
cd "$work/source"
python3 - > "$out/expected.txt" <<'PY'
import hashlib, os, stat
lines = []
for path, folders, names in os.walk(b"."):
    for name in [b""] + names + [f for f in folders if os.path.islink(os.path.join(path, f))]:
        full = os.path.join(path, name)
        info = os.lstat(full)
        kind = stat.filemode(info.st_mode)[0]
        what = "-"
        if kind == "-":
            what = hashlib.sha256(open(full, "rb").read()).hexdigest() if full != b"./pages.db" else "database"
        elif kind == "l":
            what = os.readlink(full).decode()
        size = info.st_size if kind == "-" else 0
        mode = oct(info.st_mode & 0o7777) if kind != "l" else "-"
        lines.append((os.path.normpath(full), f"{kind} {mode} {size} {info.st_mtime_ns} {what}"))
for path, rest in sorted(lines):
    print(rest, repr(path))
PY
