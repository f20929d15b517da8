#!/usr/bin/env bash
# Sets up what is missing and runs.
#
#   ./launch.sh train [flags]             python experiments/main.py; without flags --flagfile=digits.flags
#   ./launch.sh test [pytest arguments]   pytest
#
# The virtual environment is .venv (VENV=folder for another), made by python3.11 or a newer one (PYTHON=python3.12 chooses,
# and has a folder of its own). requirements.txt is installed when it or pyproject.toml has changed since the last time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
  sed -n '2,8s/^# \{0,1\}//p' launch.sh
}

fail() {
  echo "error: $*" >&2
  exit 2
}

# The first Python that is new enough, or the one asked for.
find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  fail "${PYTHON:-python3}: not a Python of version 3.11 or newer; install one, or name it: PYTHON=python3.12 ./launch.sh ..."
}

# Leaves the environment's Python in $python.
set_up() {
  local base venv stamp wanted
  base=$(find_python)
  venv=${VENV:-.venv${PYTHON:+-$(basename "$PYTHON")}}
  python=$venv/bin/python
  if [ ! -x "$python" ]; then
    echo "making $venv with $("$base" --version)" >&2
    "$base" -m venv "$venv"
  fi
  stamp=$venv/installed
  wanted=$(cat requirements.txt pyproject.toml | cksum)
  if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "installing requirements.txt into $venv" >&2
    "$python" -m pip install --quiet --disable-pip-version-check -r requirements.txt >&2
    echo "$wanted" > "$stamp"
  fi
}

command=${1:-}
[ $# -gt 0 ] && shift
case $command in
  train)
    set_up
    [ $# -gt 0 ] || set -- --flagfile=digits.flags
    exec "$python" experiments/main.py "$@"
    ;;
  test)
    set_up
    exec "$python" -m pytest "$@"
    ;;
  -h | --help | help)
    usage
    ;;
  *)
    usage >&2
    fail "'$command': must be train or test"
    ;;
esac
