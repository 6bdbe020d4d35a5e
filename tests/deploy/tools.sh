#!/usr/bin/env bash
# Docker's engine, compose and buildx, and mmdebstrap, from Debian's packages: tools.sh DIRECTORY. What is there is skipped.
# Debian 12 has neither compose v2 nor buildx: they come from the next Debian, unpacked into DIRECTORY as plugins of docker.
set -euo pipefail
PLUGINS=$1/cli-plugins
export DEBIAN_FRONTEND=noninteractive DOCKER_CONFIG=$1
mkdir -p "$PLUGINS"

missing=()
command -v dockerd >/dev/null || missing+=(docker.io)
command -v iptables >/dev/null || missing+=(iptables)
command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
if [ ${#missing[@]} -gt 0 ]; then
    apt-get -o DPkg::Lock::Timeout=300 update -q
    apt-get -o DPkg::Lock::Timeout=300 install -q -y --no-install-recommends "${missing[@]}" </dev/null
fi

if docker compose version >/dev/null 2>&1 && docker buildx version >/dev/null 2>&1; then exit 0; fi
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
mkdir -p "$WORK/lists/partial" "$WORK/archives/partial"
sources=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources 2>/dev/null || true)
mirror=$(grep -om1 -E '(https?|file)://[^ ]+/debian/?( |$)' <<<"$sources")
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$WORK/sources.list"
apt() {
    apt-get -o Dir::Etc::SourceList="$WORK/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$WORK/lists" -o Dir::Cache="$WORK" -o APT::Sandbox::User=root -q "$@"
}
apt update
(cd "$WORK" && apt download docker-compose docker-buildx && for file in *.deb; do dpkg-deb -x "$file" unpacked; done)
install -m 0755 "$WORK"/unpacked/usr/libexec/docker/cli-plugins/* "$PLUGINS/"
docker compose version
