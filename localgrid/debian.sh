#!/usr/bin/env bash
# Unpacks packages of any Debian release: debian.sh SUITE DIRECTORY PACKAGE...; nothing is installed into the system.
# They come from the machine's own mirror and are signed by Debian; what they depend on has to be named too.
set -euo pipefail
SUITE=$1 ROOT=$2
shift 2
MIRROR=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
    awk -v release="$(. /etc/os-release && echo "$VERSION_CODENAME")" '$1 == release { print $2; exit }')
[ -n "$MIRROR" ] || { echo "no Debian mirror in /etc/apt/sources.list*" >&2; exit 1; }
STATE=$(mktemp -d)
trap 'rm -rf "$STATE"' EXIT
mkdir -p "$STATE"/lists/partial "$STATE"/archives/partial
KEYS=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$KEYS arch=$(dpkg --print-architecture)] $MIRROR $SUITE main" >"$STATE/sources.list"
touch "$STATE/status"
APT=(-o "Dir::Etc::sourcelist=$STATE/sources.list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State=$STATE"
    -o "Dir::State::status=$STATE/status" -o "Dir::Cache=$STATE" -o APT::Sandbox::User= -o Acquire::Languages=none)
apt-get "${APT[@]}" update
(cd "$STATE" && apt-get "${APT[@]}" download "$@")
rm -rf "$ROOT"
mkdir -p "$ROOT"
for deb in "$STATE"/*.deb; do dpkg -x "$deb" "$ROOT"; done
