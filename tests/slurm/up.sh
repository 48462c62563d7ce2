#!/usr/bin/env bash
# Bring up a single-host SLURM (slurmctld + N virtual slurmd) without systemd, as root, loopback only.
# Idempotent: a second call on a healthy cluster only prints the status.
#   SLURM_TEST_DIR   state, config, logs            (default ${TMPDIR:-/tmp}/slurm-test)
#   SLURM_TEST_GPUS  fake GPUs on the node          (default 2; 0 = no gres)
#   SLURM_TEST_CPUS  cores that the node claims to have (default: those of this computer)
#   SLURM_TEST_INSTALL=0  never call apt-get
#   SLURM_TEST_CGROUP=1   cgroup v1 memory limits (real OUT_OF_MEMORY); needs writable cgroup v1 mounts, default off
#   SLURM_TEST_DBD=1      with accounting (slurmdbd + private mariadb on a unix socket), so that sacct works; default off
#   SLURM_TEST_FIRSTJOB  the number of the first job (default 1)
#   SLURM_TEST_MESSAGETIMEOUT  seconds that commands wait for a controller that is down (default 10)
#   SLURM_TEST_PORT  the first of four ports on loopback (default 16817)
#   SLURM_TEST_MINJOBAGE  seconds a finished job stays visible in squeue/scontrol (default 300 = SLURM's own)
# Then: source $SLURM_TEST_DIR/env.sh   (exports SLURM_CONF)
set -euo pipefail
D=${SLURM_TEST_DIR:-${TMPDIR:-/tmp}/slurm-test}; GPUS=${SLURM_TEST_GPUS:-2}; AGE=${SLURM_TEST_MINJOBAGE:-300}; CG=${SLURM_TEST_CGROUP:-0}; DBD=${SLURM_TEST_DBD:-0}; PORT=${SLURM_TEST_PORT:-16817}
T0=$(date +%s.%N); say() { printf '[slurm up %5.1fs] %s\n' "$(echo "$(date +%s.%N) $T0" | awk '{print $1-$2}')" "$*"; }
mkdir -p "$D"
[ "$(id -u)" = 0 ] || { echo "run as root" >&2; exit 2; }

# 1. packages (policy-rc.d 101 = "do not start services" while they install)
PK="slurmctld slurmd slurm-client munge"; [ "$DBD" = 1 ] && PK="$PK slurmdbd mariadb-server"
if { [ "$DBD" = 1 ] && ! command -v slurmdbd >/dev/null; } || ! command -v slurmctld >/dev/null || ! command -v slurmd >/dev/null || ! command -v munged >/dev/null; then
  [ "${SLURM_TEST_INSTALL:-1}" = 1 ] || { echo "slurm is not installed" >&2; exit 3; }
  MADE=; [ -e /usr/sbin/policy-rc.d ] || { printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d; MADE=1; }
  apt-get update -qq >/dev/null || true
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $PK >"$D/apt.log" 2>&1 \
    || { tail -n 20 "$D/apt.log" >&2; exit 3; }
  [ -z "$MADE" ] || rm -f /usr/sbin/policy-rc.d
  say "packages installed"
fi

H=$(hostname -s)
# The daemons bind to what the host name resolves to (No*InAddrAny): it must be a loopback address (127.0.1.1 of Debian is fine).
ADDR=$(getent ahostsv4 "$H" | awk 'NR==1{print $1}' || true)
case $ADDR in 127.*) ;; *) { echo "127.0.0.1 $H"; cat /etc/hosts 2>/dev/null || true; } >/tmp/.hosts.$$; cat /tmp/.hosts.$$ >/etc/hosts; rm -f /tmp/.hosts.$$; ADDR=127.0.0.1; say "/etc/hosts: $H -> 127.0.0.1";; esac
CPUS=${SLURM_TEST_CPUS:-$(nproc)}; MEM=$(awk '/MemTotal/{print int($2/1024*0.9)}' /proc/meminfo)
mkdir -p "$D"/{etc,log,state,spool,munge,dev}; chmod 755 "$D" "$D"/*; chmod 700 "$D/munge"
export SLURM_CONF=$D/etc/slurm.conf
cat >"$D/env.sh" <<E
export SLURM_CONF=$SLURM_CONF
E
alive() { [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }

# 2. munge with its own key and socket (key must be 0400 and belong to munged's user)
MS=$D/munge/sock/munge.socket; mkdir -p "$D/munge/sock"; chmod 711 "$D/munge"; chmod 755 "$D/munge/sock"
[ -s "$D/munge/munge.key" ] || { (umask 077; dd if=/dev/urandom of="$D/munge/munge.key" bs=128 count=1 status=none); chmod 400 "$D/munge/munge.key"; }
if ! alive "$D/munge/munged.pid"; then
  rm -f "$MS" "$MS.lock"
  munged --force --key-file="$D/munge/munge.key" --socket="$MS" --pid-file="$D/munge/munged.pid" \
         --log-file="$D/log/munged.log" --seed-file="$D/munge/munged.seed" --num-threads=2 2>>"$D/log/munged.err"
fi
for _ in $(seq 100); do munge -S "$MS" -n >/dev/null 2>&1 && break; sleep .05; done
munge -S "$MS" -n >/dev/null; say "munged up"

# 3. slurm.conf / gres.conf
GRESCONF=""; NODEGRES=""
if [ "$GPUS" -gt 0 ]; then
  # File= must be a character/block device (a plain file is refused and then CUDA_VISIBLE_DEVICES is not set):
  # nodes with the numbers of /dev/null do; without CAP_MKNOD a symbolic link to /dev/null.
  for i in $(seq 0 $((GPUS-1))); do [ -c "$D/dev/fakegpu$i" ] || { rm -f "$D/dev/fakegpu$i"; mknod "$D/dev/fakegpu$i" c 1 3 2>/dev/null || ln -s /dev/null "$D/dev/fakegpu$i"; }; done
  R=0; [ "$GPUS" -gt 1 ] && R="[0-$((GPUS-1))]"
  echo "NodeName=$H Name=gpu File=$D/dev/fakegpu$R" >"$D/etc/gres.conf.new"
  GRESCONF="GresTypes=gpu"; NODEGRES="Gres=gpu:$GPUS"
else : >"$D/etc/gres.conf.new"; fi
V=$(slurmctld -V | grep -oE '[0-9]+\.[0-9]+' | head -1 | tr -d .)           # 2205, 2311, 2411 ...
CGP=cgroup/v1; [ "$CG" = 0 ] && [ "$V" -ge 2311 ] && CGP=disabled
cat >"$D/etc/cgroup.conf.new" <<E
CgroupPlugin=$CGP
ConstrainRAMSpace=$([ "$CG" = 1 ] && echo yes || echo no)
ConstrainSwapSpace=no
ConstrainCores=no
ConstrainDevices=no
E
PT=proctrack/linuxproc; TP=task/none; [ "$CG" = 1 ] && { PT=proctrack/cgroup; TP=task/cgroup; }
ACCT="AccountingStorageType=accounting_storage/none"; [ "$DBD" = 1 ] && ACCT="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort=$((PORT+2))
AccountingStoragePass=$MS"   # with munge this is the *socket* used towards slurmdbd
cat >"$D/etc/slurm.conf.new" <<E
ClusterName=test
SlurmctldHost=$H($ADDR)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$MS
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny,DisableIPv6
SlurmctldPort=$PORT
SlurmdPort=$((PORT+1))
SlurmctldPidFile=$D/slurmctld.pid
SlurmdPidFile=$D/slurmd.pid
SlurmctldLogFile=$D/log/slurmctld.log
SlurmdLogFile=$D/log/slurmd.log
StateSaveLocation=$D/state
SlurmdSpoolDir=$D/spool
# by default no cgroups, no slurmdbd
ProctrackType=$PT
TaskPlugin=$TP
JobAcctGatherType=${SLURM_TEST_JOBACCT:-jobacct_gather/none}
JobAcctGatherFrequency=1
${SLURM_TEST_JOBACCT:+JobAcctGatherParams=OverMemoryKill}
$ACCT
JobCompType=jobcomp/filetxt
JobCompLoc=$D/log/jobcomp.txt
MpiDefault=none
SwitchType=switch/none
PluginDir=/usr/lib/$(uname -m)-linux-gnu/slurm-wlm
# scheduling quick enough for tests
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=512
$GRESCONF
ReturnToService=2
FirstJobId=${SLURM_TEST_FIRSTJOB:-1}
MinJobAge=$AGE
KillWait=5
InactiveLimit=0
SlurmctldTimeout=10
SlurmdTimeout=${SLURM_TEST_SLURMDTIMEOUT:-10}
MessageTimeout=${SLURM_TEST_MESSAGETIMEOUT:-10}
OverTimeLimit=0
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
NodeName=$H NodeAddr=$ADDR CPUs=$CPUS RealMemory=$MEM $NODEGRES State=UNKNOWN
PartitionName=gpu Nodes=$H Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=$H MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
E
CHANGED=0
for f in slurm.conf gres.conf cgroup.conf; do
  cmp -s "$D/etc/$f.new" "$D/etc/$f" || CHANGED=1
  mv "$D/etc/$f.new" "$D/etc/$f"
done
[ "$CHANGED" = 0 ] || say "configuration written: $SLURM_CONF"
if [ "$CHANGED" = 1 ]; then   # changed configuration: restart the daemons (jobs survive: state is saved, steps keep running)
  for p in slurmd slurmctld; do if alive "$D/$p.pid"; then kill "$(cat "$D/$p.pid")"; for _ in $(seq 100); do alive "$D/$p.pid" || break; sleep .05; done; fi; done
fi

# 3b. accounting (optional): private mariadb on a unix socket only, slurmdbd on loopback
if [ "$DBD" = 1 ]; then
  M=$D/mysql; SOCK=$M/mysqld.sock; mkdir -p "$M"
  [ -d "$M/data/mysql" ] || mariadb-install-db --no-defaults --user=root --datadir="$M/data" --auth-root-authentication-method=normal --skip-test-db >"$D/log/mysql_install.log" 2>&1
  if ! alive "$M/mysqld.pid"; then
    setsid mariadbd --no-defaults --user=root --datadir="$M/data" --socket="$SOCK" --pid-file="$M/mysqld.pid" --skip-networking \
      --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 --log-error="$D/log/mysqld.log" >/dev/null 2>&1 </dev/null &
  fi
  for _ in $(seq 200); do mariadb-admin --no-defaults -u root --socket="$SOCK" ping >/dev/null 2>&1 && break; sleep .05; done
  (umask 077; cat >"$D/etc/slurmdbd.conf" <<E
AuthType=auth/munge
AuthInfo=socket=$MS
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((PORT+2))
SlurmUser=root
LogFile=$D/log/slurmdbd.log
PidFile=$D/slurmdbd.pid
PluginDir=/usr/lib/$(uname -m)-linux-gnu/slurm-wlm
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct
CommunicationParameters=NoInAddrAny
E
  ); chmod 600 "$D/etc/slurmdbd.conf"
  alive "$D/slurmdbd.pid" || { MYSQL_UNIX_PORT=$SOCK slurmdbd 2>>"$D/log/slurmdbd.err"; }
  for _ in $(seq 100); do timeout 5 sacctmgr -n show cluster >/dev/null 2>&1 && break; sleep .05; done
  timeout 10 sacctmgr -n show cluster | grep -q test || timeout 10 sacctmgr -i add cluster test >/dev/null 2>&1 || true
  say "accounting up"
fi

# 4. daemons
alive "$D/slurmctld.pid" || { rm -f "$D/slurmctld.pid"; slurmctld -f "$SLURM_CONF" ${SLURM_TEST_CLEAN:+-c} -i 2>>"$D/log/slurmctld.err"; say "slurmctld started"; }
for _ in $(seq 200); do scontrol ping 2>/dev/null | grep -q 'is UP' && break; sleep .05; done
alive "$D/slurmd.pid" || { rm -f "$D/slurmd.pid"; slurmd -f "$SLURM_CONF" 2>>"$D/log/slurmd.err"; say "slurmd started"; }

# 5. ready?
for _ in $(seq 400); do
  S=$(sinfo -h -N -p gpu -o %T 2>/dev/null | head -1)
  case $S in idle|mixed|allocated) break;; down*|drain*) scontrol update nodename="$H" state=resume 2>/dev/null || true;; esac
  sleep .05
done
case $S in idle|mixed|allocated) ;; *) say "NOT READY: node is '$S'"; tail -n 5 "$D"/log/slurm*.log >&2; exit 1;; esac
say "READY node=$H state=$S gres=$(sinfo -h -p gpu -o %G)  ->  source $D/env.sh"
