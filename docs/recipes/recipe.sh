#!/usr/bin/env bash
# Record the workload of a recipe, or run it under the recipe's policy, and more than was recorded:
#
#     recipe.sh record NAME    writes NAME.yml here
#     recipe.sh run NAME       fails where the program is refused what it is for, or an attack is not
#
# NAME.sh says what the workload is. It is run in a temporary directory, as an ordinary user.
set -Eeuo pipefail

act=$1 name=$2 options=("${@:3}")
here=$(cd "$(dirname "$0")" && pwd)
policy=${POLICY:-$here/$name.yml}
directory=$(mktemp -d)
running=()
cd "$directory"

end() {
    for pid in "${running[@]}"; do kill -KILL -- "-$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$directory"
}
trap end EXIT

# What is served until the workload is over, in a process group of its own.
background() {
    set -m
    "$@" < /dev/null >> log 2>&1 &
    set +m
    running+=($!)
}
free_port() {
    python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
await() { # a condition
    for ((i = 0; i < 600; i++)); do
        if "$@"; then return; fi
        sleep 0.1
    done
    fail "waited for: $*"
}
fail() {
    trap - ERR
    echo "$name: $*" >&2
    tail -n 40 log >&2
    exit 1
}
trap 'fail "$BASH_COMMAND"' ERR
expect() { # a text, and the command that says it
    local said
    said=$("${@:2}" 2>&1) || true
    [[ $said == *"$1"* ]] || fail "${*:2}: $said"
}
get() { curl --silent --show-error --max-time 60 "http://127.0.0.1:$port$1" "${@:2}"; }
load() { # PATH TIMES: sixteen at once
    local codes
    codes=$(curl -sS -Z --parallel-max 16 --max-time 60 -w '%{stderr}%{http_code}\n' -o /dev/null \
        "http://127.0.0.1:$port$1?[1-$2]" 2>&1 | sort | uniq -c | xargs echo)
    [ "$codes" = "$2 200" ] || fail "load $1: $codes"
}

# An ordinary user: root becomes one in a user namespace.
user=()
if [ "$(id -u)" = 0 ]; then user=(unshare --user --map-user=65534 --map-group=65534); fi
# Programs that call install() themselves have their policy as sandbox/confined.
own_install=false
batch=false
record() { exec "${user[@]}" seccompgen record $($own_install && echo --startup-marker) "$@" -o "$policy" -- "${program[@]}"; }
run() {
    if $own_install; then exec "${user[@]}" "${program[@]}"; else exec "${user[@]}" seccompgen run "$policy" -- "${program[@]}"; fi
}
sandbox() {
    if [ "$act" = run ]; then cp "$policy" confined.yml
    else printf 'default_action: allow\nsyscalls: []\n' > confined.yml; fi
    seccompgen vendor confined.yml sandbox > /dev/null
}

port=$(free_port)
more() { :; }
attack() { :; }
ready() { listening "$port"; }
stop() { kill -TERM "$1"; }
. "$here/$name.sh"

refusals() { grep -ciE 'not permitted|PermissionError|denied' log || true; }
over() {
    wait "$main" || status=$?
    unset 'running[-1]'
    [[ $status =~ $1 ]] || fail "it ended with $status"
}

touch log
prepare
export HOME=$directory
if $own_install; then sandbox; fi
if $batch && [ "$act" = run ]; then more; fi
background "$act" "${options[@]}"
main=${running[-1]}
status=0
if $batch; then
    over '^0$'
    if [ "$act" = run ]; then
        attack
        background run
        main=${running[-1]}
        over '^1$'
    fi
else
    begun() { kill -0 "$main" 2>/dev/null || fail "it ended"; ready; }
    await begun
    use
    if [ "$act" = run ]; then
        more
        [ "$(refusals)" = 0 ] || fail "refused"
        attack
    fi
    before=$(refusals)
    stop "$main"
    over '^(0|143)$'
    [ "$(refusals)" = "$before" ] || fail "refused at the end"
fi
if [ "$act" = record ]; then grep -E '^(note|wrote)' log; fi
