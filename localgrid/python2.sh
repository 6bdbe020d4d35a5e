#!/usr/bin/env bash
# Puts Debian's last Python 2.7 and PyPI's uws-client into .envs/python2, for the test with that client.
# Nothing is installed into the system. Debian on amd64 only; called by bootstrap.sh, which makes the environment.
set -euo pipefail
DIR=$(cd "$1" && pwd)
LOCK=$(cd "$(dirname "$0")/../requirements" && pwd)/uws-client.txt
SUITE=bullseye # the last Debian release with Python 2.7
DEBS="python2.7-minimal libpython2.7-minimal libpython2.7-stdlib libssl1.1"

rm -rf "$DIR/fetched" "$DIR/packages"
mkdir -p "$DIR/packages"
# shellcheck disable=SC2086
"$(dirname "$0")/debian.sh" "$SUITE" "$DIR/root" $DEBS

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
