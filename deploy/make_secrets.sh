#!/bin/sh
# Makes the secrets of docker-compose.yaml that are missing, in deploy/secrets (0700, files 0600); those that are there stay.
# Needs openssl. The containers run as ESAP_UID of .env: whoever runs this first, or 50000 if that is root. Nobody else can
# read the files. Run it again after a file was replaced: owner and mode are made right.
set -eu
umask 077
cd "$(dirname "$0")/.."
DIR=deploy/secrets
USER_ID=$(sed -n 's/^ESAP_UID=//p' .env 2>/dev/null | tail -n 1)
if [ -z "$USER_ID" ]; then
    USER_ID=$(id -u)
    [ "$USER_ID" != 0 ] || USER_ID=50000
    [ ! -s .env ] || [ -z "$(tail -c 1 .env)" ] || echo >>.env # a last line without an end
    echo "ESAP_UID=$USER_ID" >>.env
fi
if [ "$(id -u)" != 0 ] && [ "$(id -u)" != "$USER_ID" ]; then
    echo "make_secrets: ESAP_UID is $USER_ID in $PWD/.env and you are $(id -u): run this as root or as $USER_ID" >&2
    exit 1
fi
mkdir -p "$DIR"

secret() { # NAME, then its content on standard input; without a newline at the end, which Airflow would take as part of it
    given=$(cat)
    [ -s "$DIR/$1" ] || { printf %s "$given" >"$DIR/$1.new" && mv "$DIR/$1.new" "$DIR/$1" && echo "made $DIR/$1"; }
}
random() { openssl rand -hex "$1"; }
fernet() { openssl rand -base64 32 | tr +/ -_; }

random 24 | secret postgres_password
echo "postgresql+psycopg2://airflow:$(cat $DIR/postgres_password)@postgres/airflow" | secret database_url
random 24 | secret redis_password
# No copy on disk: what is lost with it, the scheduler sends again.
printf 'requirepass %s\nsave ""\nappendonly no\nprotected-mode no\ndir /data\n' "$(cat $DIR/redis_password)" | secret redis.conf
echo "redis://:$(cat $DIR/redis_password)@redis:6379/0" | secret broker_url
echo "redis://:$(cat $DIR/redis_password)@redis:6379/1" | secret result_backend_url
fernet | secret fernet_key
random 64 | secret jwt_secret
random 48 | secret api_secret_key
random 18 | secret grafana_password # deploy/monitoring; the user is admin
secret connections.json <<JSON
{
  "esap_broker": {"conn_type": "http", "host": "http://api-server:8080", "password": "$(random 48)"},
  "esap_vault": {"conn_type": "generic", "password": "$(fernet)"}
}
JSON
if [ ! -s "$DIR/tls.key" ]; then
    openssl req -x509 -newkey rsa:3072 -noenc -days 365 -subj "/CN=localhost" -addext "subjectAltName=DNS:localhost" \
        -keyout "$DIR/tls.key" -out "$DIR/tls.crt" 2>/dev/null
    echo "made $DIR/tls.crt, signed by itself and for localhost: put the site's certificate and key in its place"
fi

chmod 0700 "$DIR"
chmod 0600 "$DIR"/*
[ "$(id -u)" != 0 ] || chown -R "$USER_ID:0" "$DIR"
