# shellcheck shell=sh
# bk puts this in front of every built-in hook (after its first line). Words for hooks:
#   warn TEXT · fail TEXT · problem TEXT HINT · fact KEY TEXT… · need_tool CMD… (`A|B`: either) · share NAME TEXT · read_password
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

# Exports a variable, also into the container. Its text is in no argument, so that no list of processes shows it.
share() {
    export "$1=$2"
    shared="$shared $1"
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
        "$@" 3>&-
    else
        other_home=$(getent passwd "$other" | cut -d: -f6)
        [ -n "$other_home" ] || fail "there is no system user $other"
        (cd / && exec runuser -u "$other" -- env "HOME=$other_home" "$@" 3>&-)
    fi
}

# Checked here, since what `has_tool` says is not shown.
case ${BK_CONTAINER_RUNTIME:=podman} in
    podman | docker) ;;
    *) fail "$BK_CONTAINER_RUNTIME is not a container runtime that bk knows: podman or docker" ;;
esac
case ${BK_CONTAINER:-} in -*) fail "$BK_CONTAINER is not the name of a container" ;; esac
for user in "${BK_CONTAINER_OWNER:-}" "${BK_SET_SYSTEM_USER:-}"; do
    [ -z "$user" ] || id -u -- "$user" >/dev/null 2>&1 || fail "there is no system user $user"
done

runtime() {
    if [ -n "${BK_CONTAINER_OWNER:-}" ] && [ "$BK_CONTAINER_OWNER" != "$(id -un)" ]; then
        as_user "$BK_CONTAINER_OWNER" env "XDG_RUNTIME_DIR=/run/user/$(id -u -- "$BK_CONTAINER_OWNER")" "$BK_CONTAINER_RUNTIME" "$@"
    else
        "$BK_CONTAINER_RUNTIME" "$@" 3>&-
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
