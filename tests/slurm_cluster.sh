#!/usr/bin/env bash
# Runs a real SLURM cluster on this machine, for tests, as root and with all files in FOLDER:
#   slurm_cluster.sh up FOLDER           starts the controller and two nodes; SLURM_CONF=FOLDER/slurm.conf selects them
#   slurm_cluster.sh node FOLDER NAME    restarts the daemon of a node
#   slurm_cluster.sh down FOLDER
# Each node has eight CPUs and pretends to have four GPUs. The nodes are named by loopback addresses, which always resolve.
set -euo pipefail
folder=$2
export SLURM_CONF=$folder/slurm.conf
nodes=(127.0.0.1 127.0.0.2)

# Starts a daemon, which must not keep the output of this script open.
start() {
  "$@" > "$folder/start.log" 2>&1 < /dev/null || { cat "$folder/start.log" >&2; return 1; }
}

configure() {
  local name port=$((20000 + RANDOM % 10000))
  echo "Name=gpu File=/dev/null,/dev/zero,/dev/full,/dev/random" > "$folder/gres.conf" # any four device files
  cat > "$SLURM_CONF" << CONF
ClusterName=test
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
AuthInfo=socket=$folder/munge.socket,cred_expire=5
FirstJobId=$((RANDOM + 1))
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool-%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
SlurmdTimeout=10
ReturnToService=2
KillWait=10
MinJobAge=3600
GresTypes=gpu
PartitionName=all Nodes=ALL Default=YES State=UP
CONF
  for name in "${nodes[@]}"; do
    port=$((port + 1))
    echo "NodeName=$name NodeHostname=$(hostname) Port=$port CPUs=8 RealMemory=4000 Gres=gpu:4" >> "$SLURM_CONF"
  done
}

up() {
  mkdir -p "${nodes[@]/#/$folder/spool-}" "$folder/state"
  configure
  (umask 077 && head -c 128 /dev/urandom > "$folder/munge.key")
  start munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munged.log" --seed-file="$folder/munged.seed"
  start slurmctld -i
  for name in "${nodes[@]}"; do start slurmd -N "$name"; done
  for _ in {1..100}; do
    [ "$(sinfo -h -N -t idle -o %N 2> /dev/null | wc -l)" -eq "${#nodes[@]}" ] && return
    sleep 0.2
  done
  tail -n 20 "$folder"/*.log >&2
  return 1
}

down() {
  timeout 10 scancel --full --signal=KILL --user=root || true
  for pid in $(cat "$folder"/{slurmd-*,slurmctld,munged}.pid 2> /dev/null || true); do
    kill "$pid" 2> /dev/null && timeout 20 tail --pid="$pid" -f /dev/null || true
  done
}

case $1 in
  node) start slurmd -N "$3" ;;
  *) "$1" ;;
esac
