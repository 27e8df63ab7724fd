#!/bin/sh
# Makes this machine's resolver ask Colony's name server for *.colony.local.
#
#   scripts/setup-dns.sh [--undo] [--port PORT] [--dry-run]
#
# The name server answers at 127.0.0.1, port 5354 unless --port says otherwise, while an instance of
# Colony runs. Without it nothing else changes: only names under colony.local are asked there.
#
#   systemd-resolved   /etc/systemd/resolved.conf.d/colony.conf
#   NetworkManager     /etc/NetworkManager/dnsmasq.d/colony.conf, where its dnsmasq is on
#   dnsmasq            /etc/dnsmasq.d/colony.conf, where it is this machine's resolver
#   macOS              /etc/resolver/colony.local
#   plain resolv.conf  it has no way to ask one server for one domain: this is said, nothing is done
#
# Safe to run twice. --undo removes exactly these files. Exit status: 0 done, 1 not possible here,
# 2 wrong usage.
set -eu

port=5354
undo=no
dry=no
root="${COLONY_ROOT:-}" # tests put another root here

usage() {
    echo "usage: $0 [--undo] [--port PORT] [--dry-run]" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case "$1" in
        --undo) undo=yes ;;
        --dry-run) dry=yes ;;
        --port)
            [ $# -gt 1 ] || usage
            port=$2
            shift
            ;;
        -h | --help)
            sed -n '2,19s/^# \{0,1\}//p' "$0"
            exit 0
            ;;
        *) usage ;;
    esac
    shift
done
case "$port" in
    '' | *[!0-9]*) usage ;;
esac

say() { echo "setup-dns: $*"; }

# run COMMAND…: runs it, or with --dry-run, or under another root, says what it would be.
run() {
    if [ "$dry" = yes ] || [ -n "$root" ]; then
        say "would run: $*"
    else
        "$@"
    fi
}

# put FILE: writes standard input there, if that changes anything.
put() {
    new=$(cat)
    if [ -f "$root$1" ] && [ "$(cat "$root$1")" = "$new" ]; then
        say "$1 is as it should be"
        return
    fi
    if [ "$dry" = yes ]; then
        say "would write $1:"
        printf '%s\n' "$new" | sed 's/^/    /'
        return
    fi
    mkdir -p "$(dirname "$root$1")"
    printf '%s\n' "$new" >"$root$1"
    say "wrote $1"
}

# drop FILE: removes it; false if it was not there.
drop() {
    [ -f "$root$1" ] || return 1
    if [ "$dry" = yes ]; then
        say "would remove $1"
    else
        rm -f "$root$1"
        say "removed $1"
    fi
}

RESOLVED=/etc/systemd/resolved.conf.d/colony.conf
MANAGER=/etc/NetworkManager/dnsmasq.d/colony.conf
DNSMASQ=/etc/dnsmasq.d/colony.conf
MACOS=/etc/resolver/colony.local
MANAGED=/etc/NetworkManager/NetworkManager

may_write() {
    [ "$dry" = yes ] || [ -n "$root" ] || [ "$(id -u)" = 0 ] || {
        say "this needs root: sudo $0" >&2
        exit 1
    }
}

kind() {
    if [ -n "${COLONY_RESOLVER:-}" ]; then
        echo "$COLONY_RESOLVER"
    elif [ "$(uname -s)" = Darwin ]; then
        echo macos
    elif [ -d "$root/run/systemd/resolve" ] && grep -qs '127\.0\.0\.5[34]' "$root/etc/resolv.conf"; then
        echo resolved
    elif grep -qsr '^dns=dnsmasq' "$root$MANAGED.conf" "$root/etc/NetworkManager/conf.d"; then
        echo manager
    elif [ -d "$root/etc/dnsmasq.d" ] && grep -qs '^nameserver 127\.0\.0\.1$' "$root/etc/resolv.conf"; then
        echo dnsmasq
    else
        echo plain
    fi
}

if [ "$undo" = yes ]; then
    may_write
    found=no
    drop "$RESOLVED" && found=yes && run systemctl restart systemd-resolved
    drop "$MANAGER" && found=yes && run nmcli general reload
    drop "$DNSMASQ" && found=yes && run systemctl restart dnsmasq
    drop "$MACOS" && found=yes
    [ "$found" = yes ] || say "there was nothing to undo"
    exit 0
fi

case "$(kind)" in
    resolved)
        may_write
        # DNS= with a port, and ~ in front: a routing domain, so that nothing else is asked here.
        # It has to be named, since systemd-resolved would ask .local by multicast alone.
        put "$RESOLVED" <<EOF
# Written by Colony's setup-dns.sh; --undo removes it.
[Resolve]
DNS=127.0.0.1:$port
Domains=~colony.local
EOF
        run systemctl restart systemd-resolved
        ;;
    manager)
        may_write
        put "$MANAGER" <<EOF
# Written by Colony's setup-dns.sh; --undo removes it.
server=/colony.local/127.0.0.1#$port
EOF
        run nmcli general reload
        ;;
    dnsmasq)
        may_write
        put "$DNSMASQ" <<EOF
# Written by Colony's setup-dns.sh; --undo removes it.
server=/colony.local/127.0.0.1#$port
EOF
        run systemctl restart dnsmasq
        ;;
    macos)
        may_write
        put "$MACOS" <<EOF
# Written by Colony's setup-dns.sh; --undo removes it.
nameserver 127.0.0.1
port $port
EOF
        ;;
    *)
        say "this machine's resolv.conf names its servers directly, and no single domain can be sent" >&2
        say "elsewhere there. Use http://NAME-PORT.colony.localhost, which browsers and curl know by" >&2
        say "themselves; or install systemd-resolved, dnsmasq, or NetworkManager with dns=dnsmasq." >&2
        exit 1
        ;;
esac
say "done; while Colony runs: getent hosts my-app-3000.colony.local"
