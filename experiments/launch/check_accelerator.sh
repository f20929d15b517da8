#!/usr/bin/env bash
# Tests and measures the accelerator of this machine, then trains on it for some minutes:
#
#   ./launch.sh check-accelerator MINUTES [flags of experiments/reproduce.py]
#
# 1. the gradient tests against plain Python, on the device (about two minutes);
# 2. seconds per step of mnist.flags and cifar.flags, alternating with --recurrence=scan and, where it is installed, PyTorch;
# 3. the runs of the paper's table 2, for MINUTES minutes. The same command continues them; --preset=full or other flags
#    of reproduce.py choose others.
#
# Records are appended to results/accelerator/. FLAG_FILES="digits cifar" measures other flag files. Without an accelerator
# everything runs on the CPU, as a rehearsal.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=${AUX_RNN_PYTHON:-python}
minutes=${1:-}

if ! [[ $minutes =~ ^[1-9][0-9]*$ ]]; then
  echo "error: '$minutes': give the minutes to train, such as ./launch.sh check-accelerator 60 --manual_dir=DEST" >&2
  exit 2
fi
shift
cd "$root"
results=results/accelerator
mkdir -p "$results"
platform=$("$python" -c 'import jax; print(jax.default_backend())')
echo "== $platform: $("$python" -c 'import jax; print(*jax.devices(), sep=", ")')"

echo "== gradients against plain Python"
code=0
JAX_PLATFORMS=$platform "$python" -m pytest -q -n 0 tests/recurrence tests/model -k naive || code=$?

echo "== seconds per step"
for flags in ${FLAG_FILES:-mnist cifar}; do
  for command in scan peer; do
    [ "$command" = scan ] || "$python" -c 'import torch' 2> /dev/null || continue
    "$python" experiments/benchmark.py "$command" --flagfile="$flags.flags" --output="$results/speed.jsonl" || code=$?
  done
done

echo "== table 2, for $minutes minutes"
timeout --foreground --signal=INT "${minutes}m" "$python" experiments/reproduce.py table2 --preset=paper --seeds=1 \
  --results="$results" --runs=runs/accelerator "$@" || trained=$?
case ${trained:-0} in
  0 | 75 | 124) exit "$code" ;; # complete, or stopped by the time limit
  *) exit "$trained" ;;
esac
