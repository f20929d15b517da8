#!/usr/bin/env bash
# On a worker of a TPU slice, in its home folder: install, train [flags of main.py], stop. ./launch.sh tpu gives these orders.
#
# The run does not hang on the connection: it writes to a file, which `train` shows. gcloud gives an order again when it has
# lost the connection; `train` then only goes on showing the run that is under way. At the end each order says its exit code
# in a line of its own, as gcloud's exit code may be one of gcloud's.
set -u
code_folder=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
state=$HOME/aux_rnn-run
export VENV=$HOME/aux_rnn-venv EXTRAS=gcs,tpu

# Whether a Python is here that launch.sh takes and that can make environments.
has_python() {
  local candidate
  for candidate in python3 python3.13 python3.12 python3.11; do
    "$candidate" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null && return
  done
  return 1
}

# The images of TPU VMs are Ubuntu 22.04, whose own Python is 3.10.
install() {
  has_python ||
    { sudo apt-get -q -o DPkg::Lock::Timeout=600 update && sudo apt-get -q -y -o DPkg::Lock::Timeout=600 install python3.11-venv; } ||
    return
  "$code_folder/launch.sh" test --version > /dev/null
}

is_running() {
  [ -s "$state/watcher" ] && grep -qs on_worker "/proc/$(cat "$state/watcher")/cmdline"
}

# In the background: the run, and then its exit code.
watch() {
  cd "$code_folder" || exit
  bash -c 'echo $$ > "$0"; exec "$@"' "$state/main" ./launch.sh train "$@"
  echo $? > "$state/code"
}

train() {
  if ! is_running; then
    rm -rf "$state"
    mkdir -p "$state" || return
    : > "$state/log"
    setsid bash "${BASH_SOURCE[0]}" watch "$@" > "$state/log" 2>&1 < /dev/null &
    echo $! > "$state/watcher"
  fi
  tail -n +1 -s 0.5 -f --pid="$(cat "$state/watcher")" "$state/log"
  [ -s "$state/code" ] || echo 137 > "$state/code" # the watcher was killed
  return "$(cat "$state/code")"
}

# Asks the run to save and leave, and waits until it has; a main.py that does not go after five minutes is killed.
stop() {
  local tries asked=
  for ((tries = 0; tries < 1500; tries++)); do
    is_running || return 0
    if [ -z "$asked" ] && [ -s "$state/main" ]; then
      kill -TERM "$(cat "$state/main")"
      asked=yes
    fi
    sleep 0.2
  done
  kill -KILL "$(cat "$state/main")"
}

order=$1
shift
"$order" "$@"
code=$?
[ "$order" = watch ] || printf '\naux_rnn: exit code %s\n' "$code"
exit "$code"
