#!/usr/bin/env bash
# A private Slurm of one node on loopback, for tests: no systemd, nothing written outside its folder.
#
#   slurm.sh install        Debian's packages, as root
#   slurm.sh up FOLDER      munged, slurmctld and slurmd in FOLDER; then `. FOLDER/env.sh`
#   slurm.sh down FOLDER    stop what `up` started, and nothing else
#
# SLURM_TEST_GPUS (2): GPUs that Slurm schedules and hands out, device nodes that are none.
# SLURM_TEST_ACCOUNTING=1: with slurmdbd, so that sacct answers; else squeue must do.
set -euo pipefail

PATH=$PATH:/usr/sbin:/sbin
GPUS=${SLURM_TEST_GPUS:-2}
ACCOUNTING=${SLURM_TEST_ACCOUNTING:-}
PORT=${SLURM_TEST_PORT:-26917}
HOST=$(hostname -s)
ME=$(id -un)

install() {
    local packages=(slurmctld slurmd slurm-client slurmdbd munge mariadb-server)
    if dpkg -s "${packages[@]}" >/dev/null 2>&1; then return; fi
    # Debian's packages would start daemons for the whole system; this file says no.
    local policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod +x $policy
        trap "rm -f $policy" EXIT
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}

pid_of() { cat "$FOLDER/run/$1.pid" 2>/dev/null; }

runs() { # the process of that pid file is there, is no zombie, and is still that program
    local pid
    pid=$(pid_of "$1") && grep -qE "^$pid \($1\) [^ZX]" "/proc/$pid/stat" 2>/dev/null
}

wait_for() { # WHAT COMMAND…
    local end=$((SECONDS + 30)) what=$1
    shift
    until "$@" >/dev/null 2>&1; do
        if [ $SECONDS -ge $end ]; then
            echo "slurm.sh: no $what after 30 s" >&2
            tail -n 20 "$FOLDER"/log/*.log >&2
            exit 1
        fi
        sleep 0.1
    done
}

write_slurm_conf() {
    local accounting="AccountingStorageType=accounting_storage/none" devices=(/dev/null /dev/zero /dev/full /dev/random)
    if [ -n "$ACCOUNTING" ]; then
        accounting="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort=$((PORT + 2))
AccountingStoragePass=$FOLDER/run/munge.socket
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment"
    fi
    # Slurm wants a device node for each GPU: without one it drains the node.
    : >"$FOLDER/etc/gres.conf"
    for ((gpu = 0; gpu < GPUS; gpu++)); do
        echo "NodeName=$HOST Name=gpu File=${devices[$gpu]}" >>"$FOLDER/etc/gres.conf"
    done
    cat >"$FOLDER/etc/slurm.conf" <<CONF
ClusterName=btxrd
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=$PORT
SlurmdPort=$((PORT + 1))
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=$ME
SlurmdUser=$ME
AuthType=auth/munge
AuthInfo=socket=$FOLDER/run/munge.socket
CredType=cred/munge
SlurmctldPidFile=$FOLDER/run/slurmctld.pid
SlurmdPidFile=$FOLDER/run/slurmd.pid
SlurmctldLogFile=$FOLDER/log/slurmctld.log
SlurmdLogFile=$FOLDER/log/slurmd.log
StateSaveLocation=$FOLDER/state
SlurmdSpoolDir=$FOLDER/spool
# neither systemd nor cgroups
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
MpiDefault=none
SwitchType=switch/none
SlurmdParameters=config_overrides
ReturnToService=1
MailProg=/bin/true
# CPUs, memory and GPUs are consumed; jobs start at once
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
MinJobAge=300
KillWait=3
InactiveLimit=0
$accounting
NodeName=$HOST NodeAddr=127.0.0.1 CPUs=8 RealMemory=16000 Gres=gpu:$GPUS State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=1-0 PriorityTier=1 State=UP
PartitionName=gpu Nodes=ALL MaxTime=1-0 PriorityTier=1 State=UP
PartitionName=urgent Nodes=ALL MaxTime=1-0 PriorityTier=9 PreemptMode=OFF State=UP
CONF
}

start_accounting() {
    mariadb-install-db --no-defaults --user="$ME" --datadir="$FOLDER/db" --auth-root-authentication-method=normal \
        --skip-test-db >"$FOLDER/log/mariadb-install.log" 2>&1
    mariadbd --no-defaults --user="$ME" --datadir="$FOLDER/db" --socket="$FOLDER/run/mysql.sock" --skip-networking \
        --pid-file="$FOLDER/run/mariadbd.pid" --log-error="$FOLDER/log/mariadbd.log" \
        --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 </dev/null >/dev/null 2>&1 &
    wait_for mariadbd mariadb-admin --no-defaults -uroot -S "$FOLDER/run/mysql.sock" ping
    mariadb --no-defaults -uroot -S "$FOLDER/run/mysql.sock" -e "CREATE DATABASE IF NOT EXISTS slurm_acct_db"
    cat >"$FOLDER/etc/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$FOLDER/run/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((PORT + 2))
SlurmUser=$ME
PidFile=$FOLDER/run/slurmdbd.pid
LogFile=$FOLDER/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
CommunicationParameters=NoInAddrAny
CONF
    chmod 600 "$FOLDER/etc/slurmdbd.conf"
    MYSQL_UNIX_PORT=$FOLDER/run/mysql.sock slurmdbd # where libmariadb looks for "localhost"
    wait_for slurmdbd timeout 10 sacctmgr -n list cluster
    if sacctmgr -n list account tests | grep -q tests; then return; fi
    sacctmgr -i add cluster btxrd >/dev/null
    sacctmgr -i add account tests Description=tests Organization=tests >/dev/null
    sacctmgr -i add user "$ME" Account=tests >/dev/null
}

# The plugin's job step drops SLURM_CONF before it calls srun: wrappers of the clients put it back.
write_clients() {
    local client
    for client in srun sbatch scancel scontrol squeue sinfo sacct sacctmgr sshare; do
        printf '#!/bin/sh\nSLURM_CONF=%s exec /usr/bin/%s "$@"\n' "$SLURM_CONF" $client >"$FOLDER/bin/$client"
        chmod 755 "$FOLDER/bin/$client"
    done
    printf 'export SLURM_CONF=%s PATH=%s/bin:$PATH\n' "$SLURM_CONF" "$FOLDER" >"$FOLDER/env.sh"
}

up() {
    if runs slurmctld && runs slurmd; then return; fi
    down
    mkdir -p "$FOLDER"/{bin,etc,run,log,state,spool,db}
    chmod 755 "$FOLDER" "$FOLDER"/*
    [ -s "$FOLDER/etc/munge.key" ] || head -c 1024 /dev/urandom >"$FOLDER/etc/munge.key"
    chmod 400 "$FOLDER/etc/munge.key"
    munged --key-file="$FOLDER/etc/munge.key" --socket="$FOLDER/run/munge.socket" --pid-file="$FOLDER/run/munged.pid" \
        --log-file="$FOLDER/log/munged.log" --seed-file="$FOLDER/run/munged.seed" --num-threads=2
    wait_for munged munge -n -S "$FOLDER/run/munge.socket"
    write_slurm_conf
    [ -z "$ACCOUNTING" ] || start_accounting
    slurmctld -i
    wait_for slurmctld timeout 3 scontrol ping
    slurmd
    wait_for "idle node" sh -c 'timeout 3 sinfo -h -o %T | grep -qE "^(idle|mixed|allocated)$"'
    write_clients
}

down() {
    local daemon
    if runs slurmctld && runs slurmd; then
        timeout 10 scancel --quiet --user="$ME" || true
        for _ in $(seq 50); do
            [ -n "$(timeout 5 squeue -h)" ] || break
            sleep 0.1
        done
    fi
    for daemon in slurmd slurmctld slurmdbd mariadbd munged; do
        runs $daemon || continue
        kill "$(pid_of $daemon)"
        for _ in $(seq 100); do
            runs $daemon || break
            sleep 0.1
        done
        if runs $daemon; then kill -9 "$(pid_of $daemon)"; fi
    done
    rm -rf "$FOLDER/run"
}

case ${1:-} in
install) install ;;
up | down)
    FOLDER=$(realpath -m "$2")
    export SLURM_CONF=$FOLDER/etc/slurm.conf
    "$1"
    ;;
*)
    sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
