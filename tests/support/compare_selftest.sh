#!/usr/bin/env bash
# Proves that compare.sh can fail: for every kind of difference, a copy is made that differs in that alone, and
# compare.sh must exit 1, name it in every layer that is to see it, and name nothing else.
#
#   compare_selftest.sh [WORKDIR]      (default: a directory of its own under TMPDIR; wants a filesystem with xattrs)
#
# As root also devices, owners, capabilities, trusted attributes and inode flags. Exit: 0 all detected · 1 not.
# shellcheck disable=SC2016 # the changes are evaluated inside the copy
set -euo pipefail
export LC_ALL=C

compare=$(dirname -- "$(realpath -- "$0")")/compare.sh
work=$(mktemp -d "${1:-${TMPDIR:-/tmp}}/compare-selftest.XXXXXX")
A=$work/a
B=$work/b
trap 'chattr -R -ia "$work" 2> /dev/null || :; chmod -R u+rwx "$work" 2> /dev/null || :; rm -rf -- "$work"' EXIT
PATH=$PATH:/sbin:/usr/sbin
passed=0 failed=0
user=() # a prefix that runs compare.sh as someone else
is_root() { [ "$(id -u)" -eq 0 ]; }

base() {
    mkdir -p "$A/dir/sub" "$A/links" "$A/names" "$A/empty"
    cd "$A"
    head -c 300000 /dev/zero | tr '\0' 'x' > dir/file
    echo text > dir/sub/text
    : > dir/zero
    ln -s target dir/symlink
    mkfifo dir/fifo
    for name in one two; do
        echo same > "links/$name-a"
        ln "links/$name-a" "links/$name-b"
    done
    touch -d '2001-02-03 04:05:06.123456789' links/*
    printf x > $'names/\xff\n'
    printf x > $'names/caf\xc3\xa9'
    truncate -s 8M dir/sparse
    printf middle | dd of=dir/sparse bs=1 seek=5000000 conv=notrunc status=none
    truncate -s 2G dir/huge
    printf middle | dd of=dir/huge bs=1 seek=1500000000 conv=notrunc status=none
    touch -d '1950-01-01 00:00:00.5' dir/old
    setfattr -n user.comment -v hello dir/file
    setfattr -n user.empty dir/file
    setfacl -m u:1234:r dir/sub/text
    setfacl -d -m u:1234:r dir/sub
    chmod 4755 dir/sub/text
    if is_root; then
        mknod dir/char c 1 3
        mknod dir/block b 7 200
        cp dir/file dir/capable
        setcap cap_net_raw+ep dir/capable
        setfattr -h -n trusted.mark -v 1 dir/symlink
    fi
}

# A path over PATH_MAX: cp cannot copy it, so it is made in both trees, with the same times.
deep() { # ROOT CONTENT ATTRIBUTE
    python3 - "$@" <<'PY'
import os, sys
root, content, attribute = sys.argv[1:]
os.chdir(root)
made = os.stat(".").st_mtime_ns
home = [os.open(".", os.O_RDONLY)]
for level in range(30):
    name = "deep" if level == 0 else "d" * 200
    os.mkdir(name, dir_fd=home[-1])
    home.append(os.open(name, os.O_RDONLY, dir_fd=home[-1]))
file = os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=home[-1])
os.write(file, content.encode())
os.setxattr(file, "user.deep", attribute.encode())
os.utime(file, ns=(7, 7))
for fd in home[:0:-1]:
    os.utime(fd, ns=(9, 9))
os.utime(home[0], ns=(made, made))
PY
}

settle() { # a change in a directory moves its mtime: put it back, so that the change stands alone
    (cd "$A" && find . -path ./deep -prune -o -type d -print0) | while IFS= read -r -d '' path; do
        [ ! -d "$B/$path" ] || touch -r "$A/$path" "$B/$path" 2> /dev/null || : # append-only: it shows if it mattered
    done
}

# Compares; wants exit status $2, every further pattern in the output, and no line of find or walk outside them.
wants() { # LABEL STATUS PATTERN...
    local label=$1 status=$2 got=0 all why=''
    shift 2
    ${user[@]+"${user[@]}"} "$compare" "$A" "$B" > "$work/out" 2> "$work/err" || got=$?
    [ "$got" -eq "$status" ] || why="exit $got, wanted $status"
    for pattern in "$@"; do
        grep -aqE "^($pattern)" "$work/out" || why="$why; nothing matches '$pattern'"
    done
    all=$(IFS='|'; echo "$*")
    if grep -aE '^(find|walk): ' "$work/out" | grep -avE "^(${all:-nothing})" > "$work/other"; then
        why="$why; more than asked: $(head -n 2 "$work/other")"
    fi
    if [ -z "$why" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED $label: $why"
        head -n 3 "$work/err" | cut -c 1-300
    fi
}

copy() { # makes B afresh
    if [ -d "$B" ]; then chattr -R -ia "$B" 2> /dev/null || :; fi
    rm -rf -- "$B"
    mkdir "$B"
    (cd "$A" && cp -a dir links names empty "$B")
    deep "$B" down there
    touch -r "$A" "$B"
}

# Makes a fresh copy, changes it by running $2 in it, and wants the difference told.
detects() { # LABEL CHANGE PATTERN...
    local label=$1 change=$2
    shift 2
    copy
    if ! (cd "$B" && set -e && eval "$change"); then
        failed=$((failed + 1))
        echo "FAILED $label: could not make the change"
        return
    fi
    settle
    wants "$label" 1 "$@"
}
keeping() { # COMMAND...: runs it on files, puts back the mtime of dir/file
    "$@"
    touch -r "$A/dir/file" dir/file
}

base
deep "$A" down there

copy
settle
wants "an unchanged copy is identical" 0

w=walk f=find
detects content 'keeping sh -c "printf y | dd of=dir/file bs=1 seek=200000 conv=notrunc status=none"' "$w: dir/file: sha256"
detects 'size' 'keeping sh -c "printf x >> dir/file"' "$f: dir/file: size: 300000 [|] 300001" "$w: dir/file: (size|sha256)"
detects truncated 'keeping truncate -s 0 dir/file' "$f: dir/file: size" "$w: dir/file: (size|sha256|allocated)"
detects mode 'chmod 640 dir/file' "$f: dir/file: mode" "$w: dir/file: mode" 'getfacl:'
detects 'mode of a directory' 'chmod 700 empty' "$f: empty: mode" "$w: empty: mode" 'getfacl:'
detects setuid 'chmod u-s dir/sub/text' "$f: dir/sub/text: mode" "$w: dir/sub/text: mode" 'getfacl:'
detects sticky 'chmod +t empty' "$f: empty: mode" "$w: empty: mode" 'getfacl:'
detects 'mode of the root' 'chmod 700 .' "$f: \.: mode" "$w: \.: mode"
detects 'mtime by a second' 'touch -d 1950-01-01T00:00:01.5 dir/old' "$f: dir/old: mtime" "$w: dir/old: mtime"
detects 'mtime by a nanosecond' 'touch -d "2001-02-03 04:05:06.123456788" links/one-a' "$f: links/one-[ab]: mtime" "$w: links/one-[ab]: mtime"
detects 'mtime before 1970' 'touch -d 1970-01-01T00:00:00Z dir/old' "$f: dir/old: mtime" "$w: dir/old: mtime"
detects 'mtime of a symlink' 'touch -h -d 2020-01-01 dir/symlink' "$f: dir/symlink: mtime" "$w: dir/symlink: mtime"
detects 'mtime of a fifo' 'touch -d 2020-01-01 dir/fifo' "$f: dir/fifo: mtime" "$w: dir/fifo: mtime"
detects 'symlink target' 'ln -sfn targeT dir/symlink; touch -h -r "$A/dir/symlink" dir/symlink; ! is_root || setfattr -h -n trusted.mark -v 1 dir/symlink' \
    "$f: dir/symlink: target" "$w: dir/symlink: target"
detects 'missing file' 'rm dir/zero' "$f: dir/zero: only in A" "$w: dir/zero: only in A"
detects 'missing empty directory' 'rmdir empty' "$f: empty: only in A" "$w: empty: only in A"
detects 'extra file' ': > empty/more' "$f: empty/more: only in B" "$w: empty/more: only in B"
detects 'type' 'rm dir/fifo; python3 -c "import socket; socket.socket(socket.AF_UNIX).bind(\"dir/fifo\")"; chmod --reference="$A/dir/fifo" dir/fifo; touch -r "$A/dir/fifo" dir/fifo' \
    "$f: dir/fifo: type" "$w: dir/fifo: type"
detects 'file for an empty directory' 'rmdir empty; : > empty; chmod 755 empty; touch -r "$A/empty" empty' "$f: empty: (type|size|links)" "$w: empty: (type|size|links|sha256|allocated)"
detects 'name not in UTF-8' 'python3 -c "import os; os.rename(b\"names/\\xff\\n\", b\"names/\\xfe\\n\")"' \
    "$f: names/.xf[ef].n: only in" "$w: names/.xf[ef].n: only in"
detects 'NFC for NFD' 'python3 -c "import os; os.rename(\"names/caf\\u00e9\", \"names/cafe\\u0301\")"' "$f: names/caf.*: only in" "$w: names/caf.*: only in"
detects 'broken hard link' 'cp -a links/one-a x; mv -f x links/one-a' "$f: links/one-[ab]: links" "$w: links/one-[ab]: (links|linked-with)"
detects 'hard links grouped differently' 'mv links/one-b x; mv links/two-b links/one-b; mv x links/two-b; touch -r "$A/links" links' "$w: links/(one-b|two-[ab]): linked-with"
detects 'attribute gone' 'setfattr -x user.comment dir/file' "$w: dir/file: xattr user.comment: .*none" 'getfattr:'
detects 'attribute added' 'setfattr -n user.more -v 1 dir/file' "$w: dir/file: xattr user.more" 'getfattr:'
detects 'attribute value' 'setfattr -n user.comment -v hellO dir/file' "$w: dir/file: xattr user.comment" 'getfattr:'
detects 'empty attribute gone' 'setfattr -x user.empty dir/file' "$w: dir/file: xattr user.empty" 'getfattr:'
detects 'empty attribute filled' 'setfattr -n user.empty -v 0x00 dir/file' "$w: dir/file: xattr user.empty" 'getfattr:'
detects 'attribute of a directory' 'setfattr -n user.more -v 1 empty' "$w: empty: xattr user.more" 'getfattr:'
detects 'ACL entry' 'setfacl -m u:1234:rw dir/sub/text; chmod 4755 dir/sub/text' "$w: dir/sub/text: xattr system.posix_acl_access" 'getfacl:' 'getfattr:'
detects 'ACL gone' 'setfacl -b dir/sub/text; chmod 4755 dir/sub/text' "$w: dir/sub/text: xattr system.posix_acl_access" 'getfacl:' 'getfattr:'
detects 'default ACL' 'setfacl -k dir/sub' "$w: dir/sub: xattr system.posix_acl_default" 'getfacl:' 'getfattr:'
detects 'sparse file filled' 'cp --sparse=never dir/sparse x; cp --attributes-only -p dir/sparse x; mv x dir/sparse' "$w: dir/sparse: allocated"
detects 'byte of a huge file' 'printf X | dd of=dir/huge bs=1 seek=1500000001 conv=notrunc status=none; touch -r "$A/dir/huge" dir/huge' "$w: dir/huge: sha256"
detects 'moved data of a huge file' 'truncate -s 0 dir/huge; truncate -s 2G dir/huge; printf middle | dd of=dir/huge bs=1 seek=1600000000 conv=notrunc status=none; touch -r "$A/dir/huge" dir/huge' \
    "$w: dir/huge: (sha256|extents)"
detects 'zeros written into a huge file' 'dd if=/dev/zero of=dir/huge bs=4K count=1 conv=notrunc status=none; touch -r "$A/dir/huge" dir/huge' "$w: dir/huge: extents"
detects 'size of a huge file' 'truncate -s 2147483649 dir/huge; touch -r "$A/dir/huge" dir/huge' "$f: dir/huge: size" "$w: dir/huge: (size|sha256)"
detects 'content beyond PATH_MAX' 'rm -rf deep; deep "$PWD" dowN there' "$w: deep/.*bottom.*: sha256"
detects 'attribute beyond PATH_MAX' 'rm -rf deep; deep "$PWD" down therE' "$w: deep/.*bottom.*: xattr user.deep"
if is_root; then
    detects owner 'chown 1234 dir/file' "$f: dir/file: uid" "$w: dir/file: uid" 'getfacl:'
    detects group 'chgrp 4321 empty' "$f: empty: gid" "$w: empty: gid" 'getfacl:'
    detects 'owner of a symlink' 'chown -h 1234 dir/symlink' "$f: dir/symlink: uid" "$w: dir/symlink: uid"
    detects 'device numbers' 'rm dir/char; mknod dir/char c 1 5; chmod --reference="$A/dir/char" dir/char; touch -r "$A/dir/char" dir/char' "$w: dir/char: device: 1:3 [|] 1:5"
    detects 'block for character' 'rm dir/char; mknod dir/char b 1 3; touch -r "$A/dir/char" dir/char' "$f: dir/char: type" "$w: dir/char: type"
    detects 'capability gone' 'setcap -r dir/capable' "$w: dir/capable: xattr security.capability" 'getcap:' 'getfattr:'
    detects 'capability changed' 'setcap cap_chown+ep dir/capable' "$w: dir/capable: xattr security.capability" 'getcap:' 'getfattr:'
    detects 'trusted attribute of a symlink' 'setfattr -h -n trusted.mark -v 2 dir/symlink' "$w: dir/symlink: xattr trusted.mark" 'getfattr:'
    if chattr +i "$A/dir/zero" 2> /dev/null && chattr -i "$A/dir/zero"; then
        detects 'immutable flag' 'chattr +i dir/zero' "$w: dir/zero: flags:  [|] i" 'lsattr:'
        detects 'append-only flag on a directory' 'touch -r "$A/empty" empty; chattr +a empty' "$w: empty: flags:  [|] a" 'lsattr:'
        detects 'no-dump flag' 'chattr +d dir/file' "$w: dir/file: flags:  [|] d" 'lsattr:'
    fi
    # A comparer that could not read must not say "identical" (2 is not 0), nor "different".
    chmod 755 "$work"
    copy
    chmod 0 "$A/dir/zero" "$B/dir/zero"
    settle
    user=(setpriv --reuid 65534 --regid 65534 --clear-groups)
    wants 'unreadable file' 2
fi

echo "compare_selftest: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
