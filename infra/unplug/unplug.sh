#!/bin/sh
# unplug.sh PORT NODE SECONDS: `PORT down NODE` now and `PORT up NODE` after SECONDS; 0: at once.
#
# PORT is the plant's own program that shuts and opens what NODE hangs on: a switch's port, a
# managed power strip, a rule of a firewall. The end is kept by a process of this machine: it
# outlives whoever called, but not the machine. docs/drill.md
set -eu
port=$1 node=$2 seconds=$3
folder=${UNPLUG_STATE:-/run/edgefleet-unplug}
cut=$folder/$node
mkdir -p "$folder"

# One at a time, as long as PORT runs: else a restore could overtake the cut that it is to end.
exec 9>"$cut.lock"
flock -w 20 9 || { echo "PORT still runs for $node" >&2; exit 1; }

if [ "$seconds" -eq 0 ]; then
    "$port" up "$node"
    rm -f "$cut"
    exit
fi

# The end comes first: whatever becomes of the next lines, the node comes back. An older cut that
# finds another one in its place leaves the end to that. A PORT that hangs does not keep it from it.
echo "$$" >"$cut"
setsid sh -c '
    port=$1 node=$2 left=$3 cut=$4 mine=$5
    while [ "$left" -gt 0 ]; do
        sleep 1
        left=$((left - 1))
        [ "$(cat "$cut" 2>/dev/null)" = "$mine" ] || exit 0
    done
    exec 9>"$cut.lock"
    while flock -w 20 9 || :; do
        [ "$(cat "$cut" 2>/dev/null)" = "$mine" ] || exit 0
        if "$port" up "$node"; then
            rm -f "$cut"
            exit 0
        fi
        flock -u 9
        sleep 1
    done
' unplug "$port" "$node" "$seconds" "$cut" "$$" 9>&- </dev/null >/dev/null 2>&1 &
exec "$port" down "$node"
