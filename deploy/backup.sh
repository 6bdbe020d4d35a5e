#!/bin/sh
# Saves what a running deployment has to lose in one file, which only its owner can read: backup.sh FILE
# That is the database, deploy/secrets, .env, docker-compose.override.yaml and config. Products lie in the lake and what jobs
# do at the facilities. Not in it: the audit log, and key files that the override takes from elsewhere.
set -eu
umask 077
FILE=$(realpath "$1")
cd "$(dirname "$0")/.."
PART=$(mktemp -d)
trap 'rm -rf "$PART" "$FILE.part"' EXIT
trap 'exit 1' INT TERM HUP
docker compose exec -T postgres pg_dump --username=airflow --format=custom airflow >"$PART/database.dump"
cp -R deploy/secrets "$PART/secrets"
cp -R config "$PART/config"
[ ! -e .env ] || cp .env "$PART/env"
[ ! -e docker-compose.override.yaml ] || cp docker-compose.override.yaml "$PART/"
tar -C "$PART" -czf "$FILE.part" .
mv "$FILE.part" "$FILE"
echo "saved $FILE ($(wc -c <"$FILE") bytes)"
