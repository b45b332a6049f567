# shellcheck shell=sh
# bk puts this in front of every built-in hook (after its first line). Words for hooks:
#   warn TEXT · fail TEXT · problem TEXT HINT · fact KEY TEXT… · need_tool CMD… (`A|B`: either) · share NAME TEXT · read_password
#   note KEY TEXT… · note_image · unavailable TEXT HINT · throw_away USER SCRIPT ARG… (a server for a drill) · answer N
#   uncovered [CMD…] · rows FILE · tables FILE · copy_with_end BYTES · runtime ARG… (podman or docker) · as_user USER CMD… · inside CMD… (in the container, or here as $run_as)

set -eu
umask 077
# Descriptor 4 is this script. What a hook starts must not hold it.
exec 4<&-

# A folder for this run alone: what an earlier one left there must not be taken for ours.
BK_SCRATCH=$(mktemp -d "${BK_SCRATCH:?is not set}/XXXXXX")

newline='
'
# The names of the variables that `inside` hands to a container, see `share`.
shared=
# The system user that `inside` runs programs as when there is no container; empty: the same as bk.
run_as=

json_string() {
    printf '%s\n' "$1" | LC_ALL=C sed 's/\\/\\\\/g; s/"/\\"/g' | LC_ALL=C awk '
        BEGIN { for (i = 1; i < 32; i++) control[i] = sprintf("%c", i) }
        { for (i in control) gsub(control[i], sprintf("\\u%04x", i)); printf "%s%s", (NR > 1 ? "\\n" : ""), $0 }'
}

fact() {
    fact_line=
    while [ $# -ge 2 ]; do
        fact_line="$fact_line${fact_line:+, }\"$1\": \"$(json_string "$2")\""
        shift 2
    done
    printf '{%s}\n' "$fact_line" >&3
}

# The file holds a line `"TABLE": COUNT` for each table.
rows() { printf '{"rows": {%s}}\n' "$(paste -s -d , "$1")" >&3; }

# The file holds a line `"TABLE"` for each table, also of those that were not counted.
tables() { printf '{"tables": [%s]}\n' "$(paste -s -d , "$1")" >&3; }

# Copies 0 to 1, and its last bytes to $BK_SCRATCH/end.
copy_with_end() {
    mkfifo "$BK_SCRATCH/copy"
    tail -c "$1" <"$BK_SCRATCH/copy" >"$BK_SCRATCH/end" &
    tee "$BK_SCRATCH/copy" || return 1
    wait "$!"
}

warn() { fact warning "$1"; }

fail() {
    printf '%s\n' "$1" >&2
    exit 1
}

problem() {
    fact problem "$1" hint "$2"
    fail "$1"
}

# The drill cannot be tried here: this is neither a good dump nor a bad one.
unavailable() {
    fact problem "$1" hint "$2"
    printf '%s\n' "$1" >&2
    exit 69
}

# What the drill of this dump is to be told, as BK_NOTE_KEY. An empty text is left out.
note() {
    note_line=
    while [ $# -ge 2 ]; do
        [ -z "$2" ] || note_line="$note_line${note_line:+, }\"$1\": \"$(json_string "$2")\""
        shift 2
    done
    [ -z "$note_line" ] || printf '{"note": {%s}}\n' "$note_line" >&3
}

# Exports a variable, also into the container. Its text is in no argument, so that no list of processes shows it.
share() {
    export "$1=$2"
    case " $shared " in *" $1 "*) ;; *) shared="$shared $1" ;; esac
}

# Names what is mounted below the data folders, and so in no snapshot of what holds these, and what else the command
# prints for one of them. A data folder itself is not named.
uncovered() {
    printf '%s\n' "${BK_ROOTS:-}" | awk 'NF' | while IFS= read -r root; do
        realpath -e -- "$root"
    done >"$BK_SCRATCH/real"
    while IFS= read -r root; do
        findmnt --noheadings --list --output TARGET </dev/null 3>&- |
            BELOW="${root%/}/" awk 'index($0, ENVIRON["BELOW"]) == 1 && $0 !~ /\/\.zfs\//'
        [ $# -eq 0 ] || "$@" "$root" </dev/null
    done <"$BK_SCRATCH/real" | sort -u >"$BK_SCRATCH/below"
    grep -v -x -F -f "$BK_SCRATCH/real" "$BK_SCRATCH/below" | paste -s -d , -
}

# Sets $password from the file that the setting password-file names, without one line end.
read_password() {
    password=
    [ -n "${BK_SET_PASSWORD_FILE:-}" ] || return 0
    [ -r "$BK_SET_PASSWORD_FILE" ] || fail "cannot read the password file $BK_SET_PASSWORD_FILE"
    password=$(cat -- "$BK_SET_PASSWORD_FILE" && printf x)
    password=${password%x}
    password=${password%"$newline"}
}

# The folder of work is bk's own (0700), so that other users start in /.
as_user() {
    other=$1
    shift
    if [ -z "$other" ] || [ "$other" = "$(id -un)" ]; then
        "$@" 3>&- 6>&-
    else
        other_home=$(getent passwd "$other" | cut -d: -f6)
        [ -n "$other_home" ] || fail "there is no system user $other"
        (cd / && exec runuser -u "$other" -- env "HOME=$other_home" "$@" 3>&- 6>&-)
    fi
}

# Checked here, since what `has_tool` says is not shown.
case ${BK_CONTAINER_RUNTIME:=podman} in
    podman | docker) ;;
    *) fail "$BK_CONTAINER_RUNTIME is not a container runtime that bk knows: podman or docker" ;;
esac
case ${BK_CONTAINER:-} in -*) fail "$BK_CONTAINER is not the name of a container" ;; esac
for user in "${BK_CONTAINER_OWNER:-}" "${BK_SET_SYSTEM_USER:-}"; do
    # A drill may be on another machine, and does without them.
    [ -z "$user" ] || [ "$1" = drill ] || id -u -- "$user" >/dev/null 2>&1 || fail "there is no system user $user"
done

runtime() {
    if [ -n "${BK_CONTAINER_OWNER:-}" ] && [ "$BK_CONTAINER_OWNER" != "$(id -un)" ]; then
        as_user "$BK_CONTAINER_OWNER" env "XDG_RUNTIME_DIR=/run/user/$(id -u -- "$BK_CONTAINER_OWNER")" "$BK_CONTAINER_RUNTIME" "$@"
    else
        "$BK_CONTAINER_RUNTIME" "$@" 3>&- 6>&-
    fi
}

inside() {
    if [ -z "${BK_CONTAINER:-}" ]; then
        as_user "$run_as" "$@"
        return
    fi
    set -- "$BK_CONTAINER" "$@"
    [ -z "${BK_CONTAINER_USER:-}" ] || set -- --user "$BK_CONTAINER_USER" "$@"
    for variable in $shared; do
        set -- --env "$variable" "$@"
    done
    # Never -t: a terminal changes bytes.
    runtime exec -i "$@"
}

# shellcheck disable=SC2016
has_tool() { inside sh -c 'command -v "$1"' sh "$1" >/dev/null 2>&1 </dev/null; }

# Debian's package of the programs of a hook, for `need_tool`.
package=

# Each program must be there, in the container when there is one. Of `NAME|OTHER` either will do.
need_tool() {
    for tool in "$@"; do
        tool_instead=${tool#*|}
        tool=${tool%%|*}
        ! has_tool "$tool" || continue
        if [ "$tool_instead" != "$tool" ]; then
            ! has_tool "$tool_instead" || continue
            tool="$tool (or $tool_instead)"
        fi
        [ -n "${BK_CONTAINER:-}" ] || problem "there is no $tool" \
            "install the client programs of the server${package:+ (Debian: $package)}, or name its container"
        inside true </dev/null || problem "cannot run programs in the container $BK_CONTAINER" \
            "start the container; see that its runtime, name and owner are right"
        problem "there is no $tool in the container $BK_CONTAINER" "name the container of the server itself"
    done
}

# Notes from which image the container was made, so that a drill can run the same. A name can pass on to another image.
note_image() {
    [ -n "${BK_CONTAINER:-}" ] || return 0
    image_id=$(runtime container inspect --format '{{.Image}}' "$BK_CONTAINER" 2>/dev/null </dev/null) || return 0
    image=$(runtime image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$image_id" 2>/dev/null </dev/null) || image=
    note image "${image%%"$newline"*}" image-id "$image_id"
}

# Of the two images that `note_image` noted, the one that is here: $image.
find_image() {
    [ -z "${BK_CONTAINER_OWNER:-}" ] || id -u -- "$BK_CONTAINER_OWNER" >/dev/null 2>&1 || return 1
    for image in "${BK_NOTE_IMAGE:-}" "${BK_NOTE_IMAGE_ID:-}"; do
        case $image in '' | -*) continue ;; esac
        command -v "$BK_CONTAINER_RUNTIME" >/dev/null || return 1
        ! runtime image inspect "$image" >/dev/null 2>&1 </dev/null || return 0
    done
    return 1
}

# Starts a server that is nobody else's: runs the shell text $2 (as /bin/sh does, with the folder of the server as $1 and
# what comes after it) in the image that was noted when it is here, else on this machine as the system user $1. From then
# on `inside` means that server, $server_folder is its folder, and $place says where it is. It ends with this hook.
throw_away() {
    owner=$1
    script=$2
    shift 2
    : "${BK_DRILL:?is not set}"
    server=
    BK_CONTAINER=
    trap stop_server EXIT
    trap 'exit 143' HUP INT TERM
    if find_image; then
        server_folder=/tmp/bk-drill
        # shellcheck disable=SC2034
        place="in a container of $image"
        start_container "$owner" "$script" "$@"
        return
    fi
    run_as=
    [ "$(id -u)" != 0 ] || run_as=$owner
    server_folder=$BK_DRILL/server
    # shellcheck disable=SC2034
    place="of this machine"
    mkdir -- "$server_folder"
    [ -z "$run_as" ] || chown -- "$run_as" "$server_folder"
    alone "$run_as" /bin/sh -c "$script" sh "$server_folder" "$@" >"$BK_SCRATCH/log" 2>&1 </dev/null 3>&- &
    server=$!
}

# Becomes the program, as the user $1. It has no network, sees no server of this machine, and dies with this shell, with
# all that it started: as far as the system allows that.
alone() {
    user=$1
    shift
    rooms=$(own_rooms)
    cd /
    if [ -z "$rooms" ]; then
        [ -z "$user" ] || exec runuser -u "$user" -- env HOME=/ "$@"
        exec "$@"
    fi
    [ -z "$user" ] || set -- setpriv --reuid "$user" --regid "$(id -g -- "$user")" --init-groups --pdeathsig KILL -- env HOME=/ "$@"
    # shellcheck disable=SC2016,SC2086
    exec setpriv --pdeathsig KILL -- unshare $rooms --fork --kill-child -- /bin/sh -c '
        for live in /run/postgresql /run/mysqld /run/redis /var/lib/postgresql /var/lib/mysql /var/lib/redis; do
            case $1/ in "$live"/*) continue ;; esac
            [ ! -d "$live" ] || [ "$(id -u)" != 0 ] || mount -t tmpfs -o ro none "$live" || exit 1
        done
        shift
        exec "$@"' sh "$BK_DRILL" "$@"
}

# What `unshare` can give here.
own_rooms() {
    rooms="--net --ipc --pid --mount"
    [ "$(id -u)" = 0 ] || rooms="--user --map-current-user --net --ipc --pid"
    # shellcheck disable=SC2086
    ! setpriv --pdeathsig KILL -- unshare $rooms --fork --kill-child -- true >/dev/null 2>&1 </dev/null || printf '%s\n' "$rooms"
}

# Its standard input is held open by this shell alone: when that dies in whatever way, the server is told to end, and
# its container goes with it.
start_container() {
    owner=$1
    script=$2
    shift 2
    remove_left_behind
    [ -n "$(runtime image inspect --format '{{.Config.User}}' "$image" </dev/null)" ] || set_user=1
    container_name=bk-drill-$(born $$)
    rm -f -- "$BK_SCRATCH/alive"
    mkfifo "$BK_SCRATCH/alive"
    BK_CONTAINER=$container_name
    BK_CONTAINER_USER=
    # shellcheck disable=SC2016
    runtime run --rm -i --pull never --name "$container_name" --label bk.drill --network none --cap-drop all \
        --security-opt no-new-privileges ${set_user:+--user "$owner"} --workdir / --entrypoint /bin/sh "$image" -c '
            umask 077
            mkdir "$1"
            exec 5<&0
            { cat <&5; while sleep 0.2; do kill -QUIT 1; kill -TERM 1; done; } >/dev/null 2>&1 &
            script=$2
            folder=$1
            shift 2
            exec /bin/sh -c "$script" sh "$folder" "$@" 5<&- </dev/null' sh "$server_folder" "$script" "$@" <"$BK_SCRATCH/alive" >"$BK_SCRATCH/log" 2>&1 &
    server=$!
    exec 6>"$BK_SCRATCH/alive"
}

# A process that no other is mistaken for, also after a restart of the machine.
born() { printf '%s.%s' "$1" "$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20)"; }

# Containers of drills that are no more: the name tells of which.
remove_left_behind() {
    runtime ps --all --filter label=bk.drill --format '{{.Names}}' 2>/dev/null </dev/null | while read -r left; do
        process=${left#bk-drill-}
        [ "$(born "${process%%.*}")" != "$process" ] || continue
        runtime kill "$left" >/dev/null 2>&1 </dev/null || true
        runtime rm --force --volumes "$left" >/dev/null 2>&1 </dev/null || true
    done
}

server_lives() {
    state=$(sed 's/.*) //' "/proc/$server/stat" 2>/dev/null) || return 1
    case $state in Z*) return 1 ;; esac
}

# Waits until the command succeeds; fails when the server ends before, or lets it wait for $patience seconds.
wait_for_server() {
    waiting_since=$(date +%s)
    until "$@" >/dev/null 2>"$BK_SCRATCH/waiting" </dev/null; do
        server_lives || return 1
        [ "$(($(date +%s) - waiting_since))" -lt "${patience:-120}" ] || {
            tail -n 1 "$BK_SCRATCH/waiting" >>"$BK_SCRATCH/log"
            return 1
        }
        sleep 0.05
    done
}

stop_server() {
    ended_with=$?
    trap - EXIT HUP INT TERM
    [ -n "${server:-}" ] || return "$ended_with"
    exec 6>&-
    if [ -n "$BK_CONTAINER" ]; then
        runtime kill "$BK_CONTAINER" >/dev/null 2>&1 </dev/null || true
        wait "$server" 2>/dev/null || true
        runtime rm --force --volumes "$BK_CONTAINER" >/dev/null 2>&1 </dev/null || true
    else
        # The server is the child of what was started. In rooms of its own all ends with it.
        name=$(cat "/proc/$server/comm" 2>/dev/null) || name=
        case $name in
            unshare | runuser) first=$(cat "/proc/$server/task/$server/children" 2>/dev/null) || first= ;;
            *) first= ;;
        esac
        # shellcheck disable=SC2086
        [ "$name" = unshare ] || kill -QUIT ${first:-$server} 2>/dev/null || true
        turn=0
        while [ "$name" != unshare ] && [ "$turn" -lt 100 ] && server_lives; do
            turn=$((turn + 1))
            sleep 0.05
        done
        # shellcheck disable=SC2086
        kill -KILL ${first:-$server} 2>/dev/null || true
    fi
    wait "$server" 2>/dev/null || true
    [ -n "$BK_CONTAINER" ] || rm -rf -- "$server_folder"
    return "$ended_with"
}

# Asks the questions of the user, each for itself: the command reads nothing and finds its question in BK_QUESTION, which
# is in no argument. It prints rows as `answer` takes them.
answer_all() {
    asked=0
    while [ "$asked" -lt "${BK_QUERIES:-0}" ]; do
        asked=$((asked + 1))
        share BK_QUESTION "$(eval "printf '%s\\n' \"\${BK_QUERY_$asked:-}\"" | sed -e ':a' -e '$!{N;ba' -e '}' -e 's/[;[:space:]]*$//')"
        rm -f "$BK_SCRATCH/unanswered"
        { "$@" </dev/null 2>"$BK_SCRATCH/messages" || : >"$BK_SCRATCH/unanswered"; } | answer "$asked" >"$BK_SCRATCH/answer"
        if [ -e "$BK_SCRATCH/unanswered" ]; then
            why=$(grep -m 1 'ERR' "$BK_SCRATCH/messages") || why=$(head -n 1 "$BK_SCRATCH/messages")
            printf '{"answer": %s, "error": "%s"}\n' "$asked" "$(json_string "$(printf '%s\n' "$why" | sed 's/^.*ERROR: *//')")" >&3
        else
            cat "$BK_SCRATCH/answer" >&3
        fi
    done
}

# Copies 0 to 1 without what is no UTF-8.
valid_text() {
    if command -v iconv >/dev/null; then iconv -c -f UTF-8 -t UTF-8; else cat; fi
}

# The rows on 0, in the text format of PostgreSQL's COPY, as answers to question $1: the first 10,000, and no more than
# all answers together may have.
answer() {
    tr '\000' '?' | valid_text | LC_ALL=C sed 's/\\\\/\\u005c/g; s/\\v/\\u000b/g; s/"/\\"/g' | NUMBER=$1 ROOM=$((3000000 / BK_QUERIES)) LC_ALL=C awk '
        BEGIN { for (i = 1; i < 32; i++) if (i != 9) control[i] = sprintf("%c", i) }
        NR > 10000 || size > ENVIRON["ROOM"] { cut = 1; next }
        {
            for (i in control) gsub(control[i], sprintf("\\u%04x", i))
            count = split($0, columns, "\t"); row = ""
            if (!count) { count = 1; columns[1] = "" }
            for (i = 1; i <= count; i++)
                row = row (i > 1 ? ", " : "") (columns[i] == "\\N" ? "null" : "\"" columns[i] "\"")
            size += length(row)
            printf "{\"answer\": %s, \"row\": [%s]}\n", ENVIRON["NUMBER"], row
        }
        END { if (cut) printf "{\"warning\": \"question %s has more rows than are kept\"}\n", ENVIRON["NUMBER"] }'
}
