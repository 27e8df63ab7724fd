# shellcheck shell=sh
# What scripts/hello and scripts/test share. Sourced with $root set to the clone's folder.
# Every step is looked at before it is done, so that running again costs little and breaks nothing.

# A normal user's PATH has no sbin on Debian, and nft and dnsmasq live there.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
# shellcheck disable=SC2154 # the sourcing script sets it
venv=$root/.venv

say() { printf '%s\n' "==> $*"; }
warn() { printf '%s\n' "==> $*" >&2; }
die() {
    warn "$*"
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command as root, or fails: as we are, or by a sudo that asks for no password.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

may_install() { have apt-get && as_root true 2>/dev/null; }

# Runs a command whose output is of interest only when it fails.
quietly() {
    log=$(mktemp)
    status=0
    "$@" >"$log" 2>&1 || status=$?
    [ "$status" -eq 0 ] || cat "$log" >&2
    rm -f "$log"
    return "$status"
}

# apt_install PACKAGE…: fails, after saying why, if apt cannot.
apt_install() {
    say "apt: installing $*"
    # Units that Debian enables on its own account. What was there before us stays as it is.
    idle_units=
    for unit in caddy.service epmd.service epmd.socket; do
        unit_exists "$unit" || idle_units="$idle_units $unit"
    done
    # One unreachable repository of the user's own fails the update, and may not matter to us.
    quietly as_root apt-get -qq -o Acquire::Retries=5 update || warn "apt: the lists could not all be updated; going on"
    installed=0
    quietly as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -y -o Acquire::Retries=5 install --no-install-recommends "$@" </dev/null ||
        installed=$?
    # Also after a failure: half of the packages may be there.
    for unit in $idle_units; do
        keep_idle "$unit"
    done
    return "$installed"
}

unit_exists() {
    [ -e "/lib/systemd/system/$1" ] || [ -e "/usr/lib/systemd/system/$1" ] ||
        [ -e "/etc/systemd/system/$1" ]
}

# Debian starts and enables caddy (ports 80 and 2019) and epmd with their packages; Colony starts
# its own. Without a running systemd nothing was started, but it would be at the next boot.
keep_idle() {
    unit_exists "$1" || return 0
    say "systemd: $1 came with its package and is switched off; Colony starts its own"
    if [ -d /run/systemd/system ]; then
        quietly as_root systemctl disable --now "$1" || warn "could not switch $1 off"
    else # systemctl may be missing too: what `disable` does is to remove this link
        as_root rm -f "/etc/systemd/system/multi-user.target.wants/$1" \
            "/etc/systemd/system/sockets.target.wants/$1"
    fi
}

# install_missing COMMAND:PACKAGE…: packages for the commands that this machine lacks.
# Fails if some stay missing; $missing then lists the packages.
install_missing() {
    missing=
    for pair in "$@"; do
        have "${pair%%:*}" || missing="$missing ${pair#*:}"
    done
    missing=${missing# }
    [ -n "$missing" ] || return 0
    # shellcheck disable=SC2086 # a list of packages
    may_install && apt_install $missing
}

# What a colony likes to have on the machine. Without it, it runs all the same.
install_runtime() {
    install_missing caddy:caddy dnsmasq:dnsmasq-base nft:nftables ip:iproute2 ||
        warn "not installed: $missing (no root, sudo or apt for it): Colony's embedded stand-ins serve instead"
}

# Sets $python to an interpreter that can run Colony.
find_python() {
    for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if have "$python" &&
            "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            return 0
        fi
    done
    return 1
}

# A venv needs ensurepip, which Debian keeps in the package python3-venv.
can_make_venv() { find_python && "$python" -c 'import ensurepip, venv' 2>/dev/null; }

make_venv() {
    if ! can_make_venv && may_install; then
        apt_install python3 python3-venv || warn "apt could not install python3-venv"
    fi
    find_python || die "Colony needs Python 3.11 or newer; PYTHON=/path/to/python3 names one"
    can_make_venv || die "$python has no ensurepip: as root, apt-get install python3-venv"
    say "python: making .venv with $("$python" --version)"
    quietly "$python" -m venv --clear "$venv" || die "could not make $venv"
}

venv_works() { "$venv/bin/python" -m pip --version >/dev/null 2>&1; }

# install_colony base|test: Colony, editable, in .venv, alone or with the tests' tools. The stamp
# names what it was installed from: a changed pyproject.toml or a moved clone installs again.
install_colony() {
    source=$({ cat "$root/pyproject.toml" && printf '%s by path' "$root"; } | cksum | tr -d ' ')
    for stamp in "$venv/.colony-$1-$source" "$venv/.colony-test-$source"; do
        if [ -e "$stamp" ] && [ -x "$venv/bin/python" ]; then
            return 0
        fi
    done
    case $1 in
    base) what=$root ;;
    *) what="${root}[$1]" ;;
    esac
    venv_works || make_venv
    say "pip: installing Colony in .venv ($1)"
    # By a path, and not by an import hook, which takes some milliseconds of each command.
    quietly "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --config-settings editable_mode=compat --editable "$what" ||
        die "pip could not install Colony"
    rm -f "$venv"/.colony-*
    : >"$venv/.colony-$1-$source"
}
