#!/usr/bin/env bash
# Stop what up.sh started (by pid file only). --purge also deletes state, logs and keys.
set -u
D=${SLURM_TEST_DIR:-${TMPDIR:-/tmp}/slurm-test}; export SLURM_CONF=$D/etc/slurm.conf
alive() { [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }
if alive "$D/slurmctld.pid"; then scancel --state=PENDING --user=root 2>/dev/null; scancel --full --signal=KILL --user=root 2>/dev/null; sleep .3; fi
for p in "$D/slurmd.pid" "$D/slurmctld.pid" "$D/slurmdbd.pid" "$D/mysql/mysqld.pid" "$D/munge/munged.pid"; do
  alive "$p" || { rm -f "$p"; continue; }
  pid=$(cat "$p"); kill "$pid" 2>/dev/null
  for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep .05; done
  kill -9 "$pid" 2>/dev/null; rm -f "$p"
done
[ "${1:-}" = --purge ] && rm -rf "$D"
echo "slurm down"
