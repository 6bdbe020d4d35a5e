#!/usr/bin/env bash
# Installs Debian's packages of SLURM, sshd and the container runtimes, without starting any of their daemons.
# Called by bootstrap.sh; what is there is skipped. Needs root; without, it says what is missing and goes on,
# since only SLURM and containers need these.
set -euo pipefail
SLURM="slurmctld slurmd slurm-client munge slurmdbd slurm-wlm-mysql-plugin mariadb-server-core
    mariadb-client-core libnss-wrapper openssh-server openssh-client"
CONTAINERS="bubblewrap podman crun uidmap fuse-overlayfs slirp4netns proot"
MONITORING="prometheus" # for its promtool, and for tests of what it scrapes
POLICY=/usr/sbin/policy-rc.d

missing() {
    local package
    # shellcheck disable=SC2086
    dpkg-query -W -f '${Package} ${db:Status-Status}\n' $SLURM $CONTAINERS $MONITORING 2>/dev/null |
        awk '$2 == "installed" { print $1 }' | sort >"$THERE" || true
    for package in $SLURM $CONTAINERS $MONITORING; do grep -qx "$package" "$THERE" || printf '%s ' "$package"; done
}

THERE=$(mktemp)
trap 'rm -f "$THERE"' EXIT
if ! command -v dpkg-query apt-get >/dev/null; then
    echo "no Debian: SLURM and containers are left out unless installed otherwise"
    exit 0
fi
WANTED=$(missing)
[ -n "$WANTED" ] || { echo "up to date"; exit 0; }
INSTALL="apt-get install --no-install-recommends $WANTED"
[ "$(id -u)" = 0 ] || { echo "needs root, SLURM or containers are left out. Run: sudo $INSTALL"; exit 0; }

if [ ! -e "$POLICY" ]; then # maintainer scripts ask it whether they may start their daemon
    trap 'rm -f "$THERE" "$POLICY"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$POLICY"
    chmod 755 "$POLICY"
fi
export DEBIAN_FRONTEND=noninteractive
{
    apt-get -o DPkg::Lock::Timeout=300 update -q
    # shellcheck disable=SC2086
    apt-get -o DPkg::Lock::Timeout=300 install -q -y --no-install-recommends $WANTED </dev/null
} >&2 || { echo "FAILED, SLURM or containers are left out. Try: $INSTALL"; exit 0; }
echo "installed"
