#!/bin/sh
# Brings back what backup.sh has saved, on a machine with this project and no deployment: restore.sh FILE
# A config that differs from the project's is put beside it. Start the rest then as always: docker compose up --detach
set -eu
umask 077
FILE=$(realpath "$1")
cd "$(dirname "$0")/.."
for there in deploy/secrets .env docker-compose.override.yaml config.restored; do
    [ ! -e "$there" ] || { echo "restore: $PWD/$there is there already: move it away first" >&2; exit 1; }
done
if docker volume inspect "${COMPOSE_PROJECT_NAME:-esap-batch}_database" >/dev/null 2>&1; then
    echo "restore: there is a database already: docker volume rm ${COMPOSE_PROJECT_NAME:-esap-batch}_database" >&2
    exit 1
fi
PART=$(mktemp -d)
trap 'rm -rf "$PART"' EXIT
trap 'exit 1' INT TERM HUP
tar -C "$PART" -xzf "$FILE"
cp -R "$PART/secrets" deploy/secrets
# Who is not root can give the files to nobody else, and so is the user of the containers from now on.
[ "$(id -u)" = 0 ] || [ ! -e "$PART/env" ] || sed -i '/^ESAP_UID=/d' "$PART/env"
[ ! -e "$PART/env" ] || cp "$PART/env" .env
[ ! -e "$PART/docker-compose.override.yaml" ] || cp "$PART/docker-compose.override.yaml" .
deploy/make_secrets.sh # whose the files are
if [ -e "$PART/config" ] && ! diff -r config "$PART/config" >/dev/null; then
    cp -R "$PART/config" config.restored
    chmod -R go=rX config.restored
    echo "restore: the saved configuration differs from $PWD/config and is in $PWD/config.restored: take over what is yours"
fi
docker compose up --detach --wait postgres
docker compose exec -T postgres pg_restore --username=airflow --dbname=airflow --exit-on-error --single-transaction <"$PART/database.dump"
echo "restored $FILE"
