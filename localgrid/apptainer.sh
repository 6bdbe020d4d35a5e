#!/usr/bin/env bash
# Puts Apptainer into .envs/apptainer, for facilities that start payloads with it and for the tests that do.
# Debian has it in unstable only, so that it brings the C library it was built with. Nothing is installed into the
# system, and no rights are needed to run it but user namespaces. Called by bootstrap.sh, which makes the environment.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
DIR=$(cd "$1" && pwd)
ROOT=$DIR/root
"$HERE/debian.sh" sid "$ROOT" apptainer libc6 libseccomp2 libsqlite3-0
LIBRARIES=$(dirname "$(find "$ROOT/usr/lib" -name 'libc.so.6')")
LOADER=$(find "$LIBRARIES" -name 'ld-linux-*')
for program in "$ROOT/usr/bin/apptainer" "$LIBRARIES/apptainer/bin/starter"; do
    "$DIR/bin/patchelf" --set-interpreter "$LOADER" --force-rpath --set-rpath "$LIBRARIES" "$program"
done
# Its two programs look for what belongs to them beside themselves, one folder apart.
mv "$ROOT/etc" "$ROOT/usr/etc"
ln -s ../etc "$ROOT/usr/lib/etc"
mkdir -p "$ROOT"/usr/lib/var/lib/apptainer/mnt/session
ln -sf ../root/usr/bin/apptainer "$DIR/bin/apptainer"
"$DIR/bin/apptainer" --version
