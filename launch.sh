#!/usr/bin/env bash
# Sets up what is missing and runs.
#
#   ./launch.sh train [flags]             python experiments/main.py; on --flagfile=digits.flags if the flags name
#                                         no --flagfile, --dataset or --mode
#   ./launch.sh local N [flags]           the same in N processes on this machine, which train together
#   ./launch.sh tpu NAME [options] [-- flags]
#                                         the same on a Cloud TPU slice, through SkyPilot; --help says more
#   sbatch [options] experiments/launch/slurm.sh [flags]
#                                         the same on a SLURM cluster
#   ./launch.sh reproduce NAME [flags]    python experiments/reproduce.py
#   ./launch.sh benchmark COMMAND [flags] python experiments/benchmark.py
#   ./launch.sh check-accelerator MINUTES [flags]
#                                         tests and measures the accelerator of this machine, and trains on it
#   ./launch.sh install                   creates the environment and installs what is missing
#   ./launch.sh test [pytest arguments]   pytest; with --slow or --all the slower tests, too; with aux_rnn/model or
#                                         aux_rnn/model/objective.py the tests of this package or module
#
# The virtual environment is .venv, made by a Python of version 3.11 or newer. PYTHON=python3.12 chooses one, in a folder of
# its own (.venv-3.12); VENV=folder names another folder. requirements.txt is installed when it or pyproject.toml changed,
# and with it the extras of pyproject.toml that EXTRAS=gcs,tpu names.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
  sed -n '2,21s/^# \{0,1\}//p' "$root/launch.sh"
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

# Leaves the environment's Python in $python, and the shell in the folder where it was started.
set_up() {
  local base venv extras stamp wanted
  pushd "$root" > /dev/null
  if [ -n "${PYTHON:-}" ]; then
    base=$(find_python)
    venv=${VENV:-.venv-$("$base" -c 'import sys; print("%d.%d" % sys.version_info[:2])')}
  else
    venv=${VENV:-.venv}
  fi
  python=$venv/bin/python
  if ! "$python" -m pip --version > /dev/null 2>&1; then
    base=${base:-$(find_python)}
    echo "making $venv with $("$base" --version)" >&2
    "$base" -m venv "$venv" || fail "$base -m venv: failed as shown above; on Debian the package python3-venv is needed"
  fi
  extras=${EXTRAS:-}
  stamp=$venv/installed${extras:+-$extras}
  wanted=$(cat requirements.txt pyproject.toml | cksum)
  if [ "$(cat "$stamp" 2> /dev/null)" != "$wanted" ]; then
    echo "installing requirements.txt${extras:+ and the extras $extras} into $venv (some minutes, once)" >&2
    "$python" -m pip install --quiet --disable-pip-version-check -r requirements.txt ${extras:+-e ".[$extras]"} >&2
    echo "$wanted" > "$stamp"
  fi
  python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python")
  popd > /dev/null
}

# Succeeds if flags of main.py name neither a data set nor a mode; the run is then on the digits.
are_on_digits() {
  case " $*" in
    *" --flagfile"* | *" --dataset"* | *" --mode"*) return 1 ;;
  esac
}

# A step takes hundreds of MiB and gives them back. The allocator of glibc, which reads this when a process starts, keeps
# that memory in the process, in pages of 2 MiB: a step at the paper's sizes is faster.
tune_allocator() {
  export GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=0x4000000000}
}

# Replaces packages and modules in the arguments of pytest by their tests, which end up in the array $tests.
find_tests() {
  local word path
  tests=()
  for word in "$@"; do
    path=${word%/}
    case $path in
      aux_rnn | aux_rnn/* | experiments | experiments/*)
        path=tests/${path#aux_rnn/}
        [[ $path == *.py ]] && path=${path%/*}/test_${path##*/}
        [ -e "$path" ] || { path=${path%/*}; echo "$word has no tests of its own; running $path" >&2; }
        ;;
      *) path=$word ;;
    esac
    tests+=("$path")
  done
}

command=${1:-}
[ $# -gt 0 ] && shift
case $command in
  train)
    set_up
    tune_allocator
    [ "${1:-}" != -- ] || shift
    are_on_digits "$@" && set -- --flagfile=digits.flags "$@"
    exec "$python" "$root/experiments/main.py" "$@"
    ;;
  local)
    set_up
    tune_allocator
    number=${1:-}
    [ $# -gt 0 ] && shift
    [ "${1:-}" != -- ] || shift
    are_on_digits "$@" && set -- --flagfile=digits.flags "$@"
    exec "$python" "$root/experiments/launch/local.py" "$number" "$@"
    ;;
  tpu)
    exec "$root/experiments/launch/tpu.sh" "$@"
    ;;
  slurm)
    fail "slurm: submit the job script: sbatch [options] experiments/launch/slurm.sh [flags]"
    ;;
  reproduce | benchmark)
    set_up
    tune_allocator
    exec "$python" "$root/experiments/$command.py" "$@"
    ;;
  check-accelerator)
    set_up
    tune_allocator
    AUX_RNN_PYTHON=$python exec "$root/experiments/launch/check_accelerator.sh" "$@"
    ;;
  install)
    set_up
    ;;
  test)
    set_up
    cd "$root"
    find_tests "$@"
    exec "$python" -m pytest ${tests[@]+"${tests[@]}"}
    ;;
  -h | --help | help)
    usage
    ;;
  *)
    usage >&2
    fail "'$command': must be train, local, tpu, reproduce, benchmark, check-accelerator, install or test"
    ;;
esac
