#!/bin/sh
# As upstream's, the exported password included: makes the cluster with POSTGRES_USER, POSTGRES_DB and POSTGRES_PASSWORD_FILE, never runs as root.
set -e
if [ "$(id -u)" = 0 ]; then
    POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
    export POSTGRES_PASSWORD
    mkdir -p "$PGDATA"
    chown -R postgres "$PGDATA"
    chmod 0700 "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    given=$(mktemp)
    printf '%s\n' "$POSTGRES_PASSWORD" >"$given"
    initdb -D "$PGDATA" -U "$POSTGRES_USER" --pwfile="$given" --encoding=UTF8 --auth-local=trust --auth-host=scram-sha-256
    rm "$given"
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    pg_ctl -D "$PGDATA" -w -o "-c listen_addresses=''" start
    psql -U "$POSTGRES_USER" -d postgres -c "create database \"$POSTGRES_DB\""
    pg_ctl -D "$PGDATA" -w stop
fi
exec "$@" -c listen_addresses='*'
