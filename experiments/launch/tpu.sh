#!/usr/bin/env bash
# Trains on a Cloud TPU slice, as a managed job of SkyPilot (tpu.yaml):
#
#   ./launch.sh tpu NAME --accelerator=tpu-v5litepod-8 --workdir=gs://BUCKET/PATH [options] [-- flags of main.py]
#
#   --dry_run        prints the command instead of running it
#   other options    are those of `sky jobs launch`, such as --infra=gcp/us-west4/us-west4-a, --no-use-spot, --yes
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

fail() {
  echo "error: $*" >&2
  exit 2
}

case ${1:-} in
  "" | -*)
    sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    [[ ${1:-} == -h || ${1:-} == --help ]] && exit
    fail "'${1:-}': must be the name of the job: ./launch.sh tpu NAME --accelerator=... --workdir=gs://..."
    ;;
esac
name=$1 accelerator='' workdir='' dry_run='' options=()
shift
while [ $# -gt 0 ]; do
  case $1 in
    --accelerator=*) accelerator=tpu-${1#--accelerator=} accelerator=${accelerator/#tpu-tpu-/tpu-} ;;
    --workdir=*) workdir=${1#--workdir=} ;;
    --dry_run) dry_run=yes ;;
    --) break ;;
    *) options+=("$1") ;;
  esac
  shift
done
[ $# -eq 0 ] || shift
[[ $name =~ ^[a-z][a-z0-9-]*$ ]] || fail "$name: must be lower-case letters, digits and hyphens"
[[ $workdir =~ ^gs://[a-z0-9._-]+/[A-Za-z0-9._/=-]+$ ]] || fail "--workdir=$workdir: must be gs://BUCKET/PATH"

case $accelerator in
  tpu-v5litepod-*) image=v2-alpha-tpuv5-lite ;;
  tpu-v5p-*) image=v2-alpha-tpuv5 ;;
  tpu-v6e-*) image=v2-alpha-tpuv6e ;;
  tpu-v[234]-*) image=tpu-ubuntu2204-base ;;
  *) fail "--accelerator=${accelerator#tpu-}: must be the type of a TPU, such as tpu-v5litepod-8" ;;
esac

flags=
[ $# -eq 0 ] || flags=$(printf '%q ' "$@")
PATH=$PATH:$root/.venv/bin
[ -n "$dry_run" ] || command -v sky > /dev/null || fail "sky is not installed; EXTRAS=sky ./launch.sh install installs SkyPilot"
task=$(mktemp -t "aux_rnn-$name-XXXXXX.yaml")
sed "s/runtime_version: .*/runtime_version: $image/" "$root/experiments/launch/tpu.yaml" > "$task"
command=(sky jobs launch --name="$name" --gpus="$accelerator" --env "WORKDIR=$workdir" --env "FLAGS=$flags"
  ${options[@]+"${options[@]}"} "$task")
if [ -n "$dry_run" ]; then
  printf '%q ' "${command[@]}" # with the file, which stays
  echo
  exit
fi
trap 'rm -f "$task"' EXIT
cd "$root" # the folder that SkyPilot copies to each host
"${command[@]}"
