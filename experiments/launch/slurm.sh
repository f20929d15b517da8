#!/usr/bin/env bash
#SBATCH --job-name=aux_rnn
#SBATCH --output=aux_rnn-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=TERM@120
# Trains on a SLURM cluster and requeues itself after each time limit until the run is complete:
#
#   sbatch --nodes=2 --ntasks-per-node=4 --gpus-per-task=1 --time=04:00:00 experiments/launch/slurm.sh --flagfile=cifar.flags
#
# Options before the script are those of sbatch and override the lines above; flags after it are those of main.py.
# One process runs per task. All nodes must see this repository, its virtual environment and the run's folder.
set -u
most_restarts=5 # in a row without a step of progress

fail() {
  echo "error: $2" >&2
  exit "$1"
}

[ -n "${SLURM_JOB_ID:-}" ] || fail 2 "not a SLURM job; submit it with: sbatch [options] experiments/launch/slurm.sh [flags]"

# SLURM runs a copy of this script from its spool folder, so the repository is not the folder above.
command=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=//p')
root=
for folder in "${command%%/experiments/launch/slurm.sh*}" "${SLURM_SUBMIT_DIR:-}"; do
  [ -n "$folder" ] && [ -x "$folder/launch.sh" ] && root=$folder && break
done
[ -n "$root" ] || fail 2 "no launch.sh found in ${SLURM_SUBMIT_DIR:-?}; submit from the folder of the repository"

# Installs what is missing once, not in every task.
"$root/launch.sh" install || exit

# SLURM sends SIGTERM to the tasks and not to this shell; they save and exit with 75, those that JAX aborts first with 134.
# A task that has exited must not end those that are still saving, but after ten minutes a task that hangs is killed.
[ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # srun ignores the former since 22.05
found=$(mktemp) || exit
srun --kill-on-bad-exit=0 --wait=600 "$root/launch.sh" train "$@" 2>&1 |
  sed -u -e '/^\[Gloo\] Rank /d' -e "/^status  *interrupted after /w $found" -e "/^srun: .*Exited with exit code 75$/w $found"
code=${PIPESTATUS[0]}
step=$(sed -n 's/^status.* after \([0-9]*\) steps.*/\1/p' "$found")
grep -q "exit code 75" "$found" && is_interrupted=yes
rm -f "$found"

# In the folder of submission, as the run may be in a bucket: the last saved step, and restarts since then.
record=aux_rnn-$SLURM_JOB_ID.restarts
if [ -z "${is_interrupted:-}" ]; then
  rm -f "$record"
  exit "$code"
fi
last_step=0 restarts=0
[ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] && [ -r "$record" ] && read -r last_step restarts < "$record"
if [ "${step:-0}" -gt "$last_step" ]; then restarts=0; else restarts=$((restarts + 1)); fi
[ "$restarts" -lt "$most_restarts" ] ||
  fail 75 "no step of progress in $restarts starts in a row (step $last_step); a longer --time is needed"
echo "${step:-$last_step} $restarts" > "$record" || exit 75

# After a node failure or a preemption SLURM has requeued the job itself, and it may be running elsewhere already.
state=$(scontrol show job "$SLURM_JOB_ID") || fail 75 "scontrol show job: failed; submit again to continue the run"
if [[ $state != *"JobState=RUNNING "* || $state != *" Restarts=${SLURM_RESTART_COUNT:-0} "* ]]; then
  echo "interrupted; SLURM has requeued or cancelled this job already" >&2
  exit 0
fi
echo "interrupted; requeued, and the run will continue" >&2
scontrol requeue "$SLURM_JOB_ID" || fail 75 "scontrol requeue $SLURM_JOB_ID: failed; submit again to continue the run"
