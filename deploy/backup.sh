#!/bin/sh
# Saves the database and the secrets of a running deployment in one file, which only its owner can read: backup.sh FILE
# Products lie in the lake and what jobs do at the facilities, so this is all that a deployment has to lose.
set -eu
umask 077
FILE=$1
cd "$(dirname "$0")/.."
PART=$(mktemp -d)
trap 'rm -rf "$PART"' EXIT
docker compose exec -T postgres pg_dump --username=airflow --format=custom airflow >"$PART/database.dump"
cp -R deploy/secrets "$PART/secrets"
[ ! -e .env ] || cp .env "$PART/env"
tar -C "$PART" -czf "$FILE.part" .
mv "$FILE.part" "$FILE"
echo "saved $FILE ($(wc -c <"$FILE") bytes)"
