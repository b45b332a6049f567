#!/usr/bin/env bash
# Whole-program comparison: bk against restic, rustic, borg and bupstash, each as its own documentation says to use it.
#
#   compare.sh [--scale F] [--rounds N] [--data LIST] [--tools LIST] [--million] [--work DIR] [--keep] [--results FILE]
#
# --scale    size of the data, 1 by default (about 5 GB of data, and as much again per tool in repositories)
# --rounds   default 3; the table shows medians. Each round starts from empty repositories and empty caches
# --data     of media,sql,small,sparse,million (default: the first four; --million adds the fifth)
# --tools    of bk,restic,rustic,borg,borg-zstd,bupstash (default: every one found)
# --work     default: mktemp; data made there is used again by the next run with the same --scale
# --keep     leaves the data; without it a work directory made here is removed
# --results  also writes every single measurement: round, data, step, tool, seconds, CPU seconds, KiB, bytes, exit
# BK names the program under test (default: target/release/bk of this repository).
#
# Data, from a fixed seed: media (1.5 GB incompressible, 60 files) · sql (0.9 GB plain dump; next day: 1 % of the rows
# changed in clusters, some appended) · small (50,000 source-like files of 0.2-20 KB) · sparse (2 GB image, 100 MB data)
# · million (files of 0-30 bytes; first and unchanged only).
# Steps: first backup · unchanged second backup · next (sql) · restore · check, reading all data. A step runs for all tools
# in turn, beginning with another one each round; data is warm in the page cache, dirty pages are synced away before.
# Everything is encrypted, compression is each tool's default (borg: lz4; borg-zstd: -C zstd,3). bupstash has no check:
# its row there is `get` of the newest snapshot to /dev/null: less work than the others do (older snapshots and the
# repository's structure are not looked at), so it is shown without a ratio and is never the fastest peer of `check`.
# Restored trees are compared with their source (names and contents) in the first round. Peak is that of a tool's largest
# process, and bupstash runs as two.
# Needs: python3, GNU time (Debian: time).
# shellcheck disable=SC2016 # $1 belongs to the inner shell
set -euo pipefail
export LC_ALL=C

here=$(dirname -- "$(realpath -- "$0")")
BK=${BK:-$here/../target/release/bk}
scale=1 rounds=3 sets=media,sql,small,sparse tools='' million=0 work='' keep=0 own=0 results=''

usage() {
    sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
while [ $# -gt 0 ]; do
    case $1 in
        --scale | --rounds | --data | --tools | --work | --results)
            [ $# -ge 2 ] || usage
            case $1 in
                --scale) scale=$2 ;;
                --rounds) rounds=$2 ;;
                --data) sets=$2 ;;
                --tools) tools=$2 ;;
                --work) work=$2 ;;
                --results) results=$2 ;;
            esac
            shift
            ;;
        --million) million=1 ;;
        --keep) keep=1 ;;
        *) usage ;;
    esac
    shift
done
[ "$million" -eq 0 ] || sets=$sets,million
sets=${sets//,/ }
if ! [ -x /usr/bin/time ] || ! command -v python3 > /dev/null; then
    echo "compare: needs /usr/bin/time (Debian: time) and python3" >&2
    exit 1
fi
if [ -z "$work" ]; then
    work=$(mktemp -d "${TMPDIR:-/var/tmp}/bk-compare.XXXXXX")
    own=1
fi
mkdir -p "$work"
work=$(realpath -- "$work")
data=$work/data repos=$work/repos out=$work/out
measured=$work/measured.tsv
leave() {
    rm -rf -- "$repos" "$out"
    if [ "$own" -eq 1 ] && [ "$keep" -eq 0 ]; then rm -rf -- "$work"; fi
}
trap leave EXIT

PATH=$PATH:$HOME/.cargo/bin
home=$HOME
program() { # TOOL: its executable
    case $1 in
        bk) echo "$BK" ;;
        borg-zstd) echo borg ;;
        *) echo "$1" ;;
    esac
}
found=()
tools=${tools:-bk,restic,rustic,borg,borg-zstd,bupstash}
for tool in ${tools//,/ }; do
    if command -v "$(program "$tool")" > /dev/null; then
        found+=("$tool")
    else
        echo "note: $tool is not here ($(program "$tool")); left out"
    fi
done
if [ ${#found[@]} -eq 0 ]; then
    echo "compare: no tool found" >&2
    exit 1
fi

make_data() { # SET
    local mark=$data/.made-$1-$scale
    [ ! -e "$mark" ] || return 0
    rm -rf -- "${data:?}/$1" "$data/.made-$1-"* "$data/.$1-days"
    mkdir -p "$data/$1"
    python3 - "$data" "$1" "$scale" <<'PY'
import math, os, random, sys

top, kind, scale = sys.argv[1], sys.argv[2], float(sys.argv[3])
dice = random.Random(f"bk {kind} 1")
MB = 10**6
os.chdir(f"{top}/{kind}")

def words(count, low, high):
    sounds = ["ba", "ker", "lo", "mi", "nus", "ta", "ri", "sen", "do", "ve", "qu", "on", "al", "ex", "st", "pra", "u", "gho", "ze", "fin"]
    return ["".join(dice.choices(sounds, k=dice.randint(low, high))) for _ in range(count)]

def media():
    shares = [math.exp(dice.uniform(0, 4)) for _ in range(60)]
    for number, share in enumerate(shares):
        os.makedirs(f"album{number // 12}", exist_ok=True)
        left = int(1500 * MB * scale * share / sum(shares)) + dice.randrange(4096)
        with open(f"album{number // 12}/{number:03}.mkv", "wb") as file:
            while left > 0:
                file.write(dice.randbytes(min(left, MB)))
                left -= MB

def sql():
    """Both days in one pass; a cluster is a run of rows that were updated since."""
    word = words(6000, 1, 4)
    sentence = [" ".join(dice.choices(word, k=dice.randint(4, 18))) for _ in range(40000)]
    mails = [f"{a}.{b}@{c}.example" for a, b, c in zip(dice.choices(word, k=20000), dice.choices(word, k=20000), dice.choices(word, k=20000))]
    states = ["open", "closed", "shipped", "pending review", "cancelled"]
    target, written, row, changed = 900 * MB * scale, 0, 0, 0
    os.mkdir("../.sql-days")
    with open("dump.sql", "w") as one, open("../.sql-days/next.sql", "w") as two:
        for file in (one, two):
            file.write("--\n-- PostgreSQL database dump\n--\nSET client_encoding = 'UTF8';\n")
        while written < target:
            table = row // 200000 % 3
            head = ("COPY public.comment (id, author, created, body, rank) FROM stdin;\n", f"INSERT INTO `orders{row}` VALUES\n",
                "COPY public.event (id, at, kind, payload) FROM stdin;\n")[table]
            tail = ("\\.\n\n", ";\n", "\\.\n\n")[table]
            first, second = [head], [head]
            for _ in range(1000):
                row += 1
                at = f"2026-0{1 + row % 9}-{1 + row // 9000 % 28:02} {row // 3600 % 24:02}:{row // 60 % 60:02}:{row % 60:02}.{int(dice.random() * 1000000):06}"
                number, text = int(dice.random() * 40000), sentence[int(dice.random() * 40000)]
                if table == 0:
                    line = f"{row}\t{mails[number // 2]}\t{at}+00\t{text}. {sentence[number]}\t{number % 97}\n"
                elif table == 1:
                    line = f"({row},'{mails[number // 2]}','{at}',{number / 100:.2f},'{states[number % 5]}','{text}',NULL,{number * 7919 % 100003}),\n"
                else:
                    line = f'{row}\t{at}\t{states[number % 5]}\t{{"user": {number}, "session": "{number * row * 2654435761 & (1 << 64) - 1:016x}", "note": "{text}", "ok": true}}\n'
                first.append(line)
                if changed:
                    changed -= 1
                    line = line.replace("2026-", "2027-", 1).replace(text, sentence[-number])
                elif dice.random() < 1 / 20000:  # a run of 20..380 rows every 20000: 1 %
                    changed = 20 + int(dice.random() * 360)
                second.append(line)
            first.append(tail)
            second.append(tail)
            block = "".join(first)
            written += len(block)
            one.write(block)
            two.write("".join(second))
        two.write("COPY public.comment (id, author, created, body, rank) FROM stdin;\n")
        for _ in range(row // 500):
            row += 1
            number = int(dice.random() * 40000)
            two.write(f"{row}\t{mails[number // 2]}\t2027-01-01\t{sentence[number]}\t{number % 97}\n")
        two.write("\\.\n")

def small():
    name = words(3000, 1, 3)
    shapes = ["    let {0} = {1}.{2}({3});\n", "pub fn {0}(&self, {1}: &{2}) -> Result<{3}> {{\n", "}}\n\n", "    // {0} {1} the {2}, then {3}\n",
        "    if {0}.{1}() < {2} {{ return {3}; }}\n", "use crate::{0}::{1};\n", "        self.{0}.push({1}::{2}(\"{3}\"));\n", "\n"]
    line = [dice.choice(shapes).format(*dice.choices(name, k=4)) for _ in range(60000)]
    folders = ["."]
    for number in range(int(50000 * scale)):
        if number % 14 == 0:
            parent = dice.choice(folders[-400:])
            folder = f"{parent}/{dice.choice(name)}{number}" if parent.count("/") < 7 else f"./{dice.choice(name)}{number}"
            os.makedirs(folder)
            folders.append(folder)
        size = int(200 * 100 ** dice.random())
        with open(f"{folder}/{dice.choice(name)}_{number}.rs", "w") as file:
            file.write("".join(dice.choices(line, k=size // 25 + 2))[:size])

def sparse():
    size = int(2000 * MB * scale) // 4096 * 4096
    with open("disk.img", "wb") as file:
        file.truncate(size)
        text = " ".join(words(300000, 1, 4)).encode()
        for number in range(50):
            file.seek(dice.randrange(size // 4096 - 600) * 4096)
            piece = int(2 * MB * scale)
            begin = dice.randrange(len(text) // 2)
            file.write(dice.randbytes(piece) if number % 2 else (text[begin:begin + piece]))

def million():
    for number in range(int(1000000 * scale)):
        if number % 1000 == 0:
            folder = f"{number // 100000:02}/{number // 1000:04}"
            os.makedirs(folder)
        with open(f"{folder}/file{number:07}", "wb", 0) as file:
            if number % 4 == 0:
                file.write(b"content of file %d" % number)

{"media": media, "sql": sql, "small": small, "sparse": sparse, "million": million}[kind]()
PY
    if [ "$1" = sql ]; then cp -p "$data/sql/dump.sql" "$data/.sql-days/first.sql"; fi
    touch "$mark"
}

# The dump of a day at the path where the dump always lies.
sql_day() { cp -p --remove-destination "$data/.sql-days/$1.sql" "$data/sql/dump.sql"; }

# What each tool needs around it: passwords in the environment, all state under its own folder.
surround() { # TOOL SET
    place=$repos/$2/$1 # the tool's folder
    repo=$place/repo
    mkdir -p "$place/home" "$repo"
    export HOME=$place/home XDG_CACHE_HOME=$place/home/cache XDG_CONFIG_HOME=$place/home/config
    export BK_DATA_DIR=$repo
    export RESTIC_REPOSITORY=$repo RESTIC_PASSWORD=compare RESTIC_CACHE_DIR=$place/cache
    export RUSTIC_REPOSITORY=$repo RUSTIC_PASSWORD=compare RUSTIC_CACHE_DIR=$place/cache
    export BORG_REPO=$repo BORG_PASSPHRASE=compare BORG_BASE_DIR=$place/home
    export BUPSTASH_REPOSITORY=$repo BUPSTASH_KEY=$place/key BUPSTASH_QUERY_CACHE=$place/query-cache
}

create() { # TOOL: an empty repository; not timed
    case $1 in
        bk) ;; # the first backup makes it
        restic) restic init --repository-version 2 ;;
        rustic) rustic init ;;
        borg*) borg init --encryption repokey ;;
        bupstash) rmdir "$repo" && bupstash new-key -o "$place/key" && bupstash init ;;
    esac
}

# The command line of a step, in the array `line`; $source and $target are set.
command_line() { # TOOL STEP
    local newest=unchanged
    [ "$source" != "$data/sql" ] || newest=next
    case $1:$2 in
        bk:restore) line=("$BK" restore latest --to "$target") ;;
        bk:check) line=("$BK" check --read-data) ;;
        bk:*) line=("$BK" backup "$source") ;;
        restic:restore) line=(restic restore latest --target "$target") ;;
        restic:check) line=(restic check --read-data) ;;
        restic:*) line=(restic backup --compression auto "$source") ;;
        rustic:restore) line=(rustic restore latest "$target") ;;
        rustic:check) line=(rustic check --read-data) ;;
        rustic:*) line=(rustic backup "$source") ;;
        borg*:restore) line=(env -C "$target" borg extract "::$newest") ;;
        borg*:check) line=(borg check --verify-data) ;;
        borg:*) line=(borg create "::$2" "$source") ;;
        borg-zstd:*) line=(borg create -C "zstd,3" "::$2" "$source") ;;
        bupstash:restore) line=(bupstash restore -q --ownership --xattrs --into "$target" "id=$(cat "$place/id")") ;;
        bupstash:check) line=(sh -c 'exec bupstash get -q "id=$1" > /dev/null' sh "$(cat "$place/id")") ;;
        bupstash:*) line=(sh -c 'exec bupstash put -q --xattrs --send-log "$1/send-log" :: "$2" > "$1/id"' sh "$place" "$source") ;;
    esac
}

restored_root() { # TOOL
    case $1 in
        bk) echo "$target/$(basename -- "$source")$source" ;;
        bupstash) echo "$target" ;;
        *) echo "$target$source" ;;
    esac
}

step() { # ROUND SET STEP TOOL
    local round=$1 set=$2 step=$3 tool=$4 status=0 time=$work/time log=$work/log
    surround "$tool" "$set"
    source=$data/$set target=$out/$tool
    rm -rf -- "$out"
    mkdir -p "$target"
    command_line "$tool" "$step"
    sync
    /usr/bin/time -q -f '%e %U %S %M' -o "$time" "${line[@]}" > "$log" 2>&1 < /dev/null || status=$?
    local wall user system peak
    read -r wall user system peak < "$time"
    if [ "$status" -ne 0 ]; then
        echo "note: $set, $step: $tool exited $status: $(tail -n 3 "$log" | tr '\n' ' ' | cut -c 1-300)"
    elif [ "$step" = restore ] && [ "$round" -eq 1 ] && ! diff -rq --no-dereference "$source" "$(restored_root "$tool")" > "$log" 2>&1; then
        echo "note: $set: what $tool restored differs: $(head -n 1 "$log" | cut -c 1-300)"
        status=200
    fi
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$round" "$set" "$step" "$tool" "$wall" \
        "$(awk "BEGIN { print $user + $system }")" "$peak" "$(du -sb "$repo" | cut -f 1)" "$status" >> "$measured"
}

machine() {
    echo "machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores," \
        "$(awk '/MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo), Linux $(uname -r)," \
        "$(df --output=fstype "$work" | tail -n 1), load $(cut -d ' ' -f 1 /proc/loadavg), $(date -u +%F)"
    for tool in "${found[@]}"; do
        case $tool in
            bk) echo "bk: $("$BK" --version 2>&1 | head -n 1)" ;;
            restic) restic version | cut -d ' ' -f 1-2 ;;
            rustic) rustic --version ;;
            borg) borg --version ;;
            bupstash) bupstash version | head -n 1 ;;
        esac
    done
}

table() {
    python3 - "$measured" "$scale" "$rounds" <<'PY'
import statistics, sys

rows = [line.rstrip("\n").split("\t") for line in open(sys.argv[1])]
cases = {}
for _, data, step, tool, *figures in rows:
    cases.setdefault((data, step), {}).setdefault(tool, []).append([float(figure) for figure in figures])
print(f"\nscale {sys.argv[2]}, median of {sys.argv[3]} round(s); ratio = wall time against the fastest peer (not bk): below 1.00 is faster\n")
print(f"{'data':8} {'step':10} {'tool':10} {'wall s':>8} {'cpu s':>8} {'peak MiB':>9} {'repo MB':>9} {'ratio':>7}")
for (data, step), tools in cases.items():
    middle = {tool: [statistics.median(column) for column in zip(*each)] for tool, each in tools.items()}
    apart = {("check", "bupstash")}  # does less than the others in this step
    good = {tool: figures[0] for tool, figures in middle.items() if tool != "bk" and (step, tool) not in apart and not any(row[4] for row in tools[tool])}
    fastest = min(good.values(), default=None)
    for tool, (wall, cpu, peak, size, _) in middle.items():
        worst = max(row[4] for row in tools[tool])
        ratio = "failed" if worst else "-" if (step, tool) in apart else f"{wall / fastest:.2f}" if fastest else "-"
        print(f"{data:8} {step:10} {tool:10} {wall:8.2f} {cpu:8.2f} {peak / 1024:9.1f} {size / 1e6:9.1f} {ratio:>7}")
PY
}

machine
: > "$measured"
for set in $sets; do
    case $set in
        media | small | sparse) steps="first unchanged restore check" ;;
        sql) steps="first unchanged next restore check" ;;
        million) steps="first unchanged" ;;
        *) usage ;;
    esac
    make_data "$set"
    for round in $(seq "$rounds"); do
        rm -rf -- "$repos"
        [ "$set" != sql ] || sql_day first
        for tool in "${found[@]}"; do
            (surround "$tool" "$set" && create "$tool") > "$work/log" 2>&1 || { echo "note: $tool could not make a repository: $(tail -n 2 "$work/log")"; }
        done
        find "$data/$set" -type f -exec cat {} + > /dev/null # warm
        for name in $steps; do
            [ "$name" != next ] || sql_day next
            for turn in "${!found[@]}"; do
                tool=${found[$(((turn + round - 1) % ${#found[@]}))]}
                (step "$round" "$set" "$name" "$tool")
            done
        done
        rm -rf -- "$repos" "$out"
    done
done
export HOME=$home
table
[ -z "$results" ] || cp -- "$measured" "$results"
