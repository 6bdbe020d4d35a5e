#!/usr/bin/env bash
# Puts Debian's last Python 2.7 and PyPI's uws-client into .envs/python2, for the test with that client.
# Nothing is installed into the system. Debian on amd64 only; called by bootstrap.sh, which makes the environment.
set -euo pipefail
DIR=$(cd "$1" && pwd)
LOCK=$(cd "$(dirname "$0")/../requirements" && pwd)/uws-client.txt
SUITE=bullseye # the last Debian release with Python 2.7
DEBS="python2.7-minimal libpython2.7-minimal libpython2.7-stdlib libssl1.1"

# The machine's own mirror of Debian, asked for the older release.
MIRROR=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
    awk -v release="$(. /etc/os-release && echo "$VERSION_CODENAME")" '$1 == release { print $2; exit }')
[ -n "$MIRROR" ] || { echo "no Debian mirror in /etc/apt/sources.list*" >&2; exit 1; }
rm -rf "$DIR/apt" "$DIR/root" "$DIR/fetched" "$DIR/packages"
mkdir -p "$DIR"/apt/lists/partial "$DIR"/apt/archives/partial "$DIR"/root "$DIR"/packages
KEYS=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$KEYS arch=amd64] $MIRROR $SUITE main" >"$DIR/apt/sources.list"
touch "$DIR/apt/status"
APT=(-o "Dir::Etc::sourcelist=$DIR/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State=$DIR/apt"
    -o "Dir::State::status=$DIR/apt/status" -o "Dir::Cache=$DIR/apt" -o APT::Sandbox::User= -o Acquire::Languages=none)
apt-get "${APT[@]}" update
# shellcheck disable=SC2086
(cd "$DIR/apt" && apt-get "${APT[@]}" download $DEBS)
for deb in "$DIR"/apt/*.deb; do dpkg -x "$deb" "$DIR/root"; done
rm -rf "$DIR/apt"

"$DIR/bin/python" -m pip download -q --no-deps --require-hashes --no-build-isolation --python-version 27 \
    --implementation cp --abi cp27mu --abi none --platform manylinux1_x86_64 --platform any \
    -r "$LOCK" -d "$DIR/fetched"
for wheel in "$DIR"/fetched/*.whl; do "$DIR/bin/python" -m zipfile -e "$wheel" "$DIR/packages"; done
tar -xzf "$DIR"/fetched/uws-client-*.tar.gz -C "$DIR/packages" --strip-components=1 --wildcards '*/uws'
rm -rf "$DIR/fetched"

cat >"$DIR/bin/python2.7" <<EOF
#!/bin/sh
LD_LIBRARY_PATH=$DIR/root/usr/lib/x86_64-linux-gnu PYTHONPATH=$DIR/packages exec $DIR/root/usr/bin/python2.7 "\$@"
EOF
chmod +x "$DIR/bin/python2.7"
"$DIR/bin/python2.7" -c 'from uws import UWS'
