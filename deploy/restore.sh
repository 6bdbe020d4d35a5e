#!/bin/sh
# Brings back what backup.sh has saved, on a machine with this project and no deployment: restore.sh FILE
# Start the rest then as always: docker compose up --detach
set -eu
umask 077
FILE=$(realpath "$1")
cd "$(dirname "$0")/.."
for there in deploy/secrets .env; do
    [ ! -e "$there" ] || { echo "restore: $PWD/$there is there already: move it away first" >&2; exit 1; }
done
if docker volume inspect "${COMPOSE_PROJECT_NAME:-esap-batch}_database" >/dev/null 2>&1; then
    echo "restore: there is a database already: docker volume rm ${COMPOSE_PROJECT_NAME:-esap-batch}_database" >&2
    exit 1
fi
PART=$(mktemp -d)
trap 'rm -rf "$PART"' EXIT
tar -C "$PART" -xzf "$FILE"
cp -R "$PART/secrets" deploy/secrets
[ ! -e "$PART/env" ] || cp "$PART/env" .env
if [ "$(id -u)" = 0 ]; then
    chown -R "$(sed -n 's/^ESAP_UID=//p' .env):0" deploy/secrets
fi
docker compose up --detach --wait postgres
docker compose exec -T postgres pg_restore --username=airflow --dbname=airflow --exit-on-error --single-transaction <"$PART/database.dump"
echo "restored $FILE"
