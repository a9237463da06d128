#!/bin/sh
# Process 1 of the guests without systemd: the rest of what a machine has, then the suites, then the end.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=linux
guest=$1
mkdir -p /dev/pts /dev/shm /dev/mqueue /dev/hugepages /var/tmp
mount -t devpts -o mode=620,ptmxmode=666 none /dev/pts
mount -t tmpfs -o mode=1777 none /dev/shm
mount -t tmpfs -o mode=755 none /run
mount -t mqueue none /dev/mqueue
mount -t hugetlbfs none /dev/hugepages
mount -t securityfs none /sys/kernel/security 2>/dev/null
mount -t bpf none /sys/fs/bpf
ln -s /proc/self/fd /dev/fd
chmod 1777 /var/tmp
hostname "$guest"
ip link set lo up

case $guest in
    v1)
        mount -t tmpfs -o mode=755 none /sys/fs/cgroup
        # A hierarchy for each controller that this kernel has, and systemd's own, as on the hosts that have version 1.
        awk '!/^#/ && $4 == 1 { print $1 }' /proc/cgroups | while read -r controller; do
            mkdir "/sys/fs/cgroup/$controller"
            mount -t cgroup -o "$controller" none "/sys/fs/cgroup/$controller"
        done
        mkdir /sys/fs/cgroup/systemd
        mount -t cgroup -o none,name=systemd none /sys/fs/cgroup/systemd
        ;;
    *)
        mount -t cgroup2 -o nsdelegate none /sys/fs/cgroup
        ;;
esac
# The second disk, where there is one, is scheduled by weight.
[ ! -e /sys/block/vdb/queue/scheduler ] || echo bfq >/sys/block/vdb/queue/scheduler

if [ -e /vm/job.json ]; then
    /vm/release/vm --inside </dev/null
else
    echo "guest $guest: runb, conformance and a runtime's cases are in /vm/release; exit ends the machine"
    export PATH=/vm/release:$PATH
    setsid -c sh -l </dev/console >/dev/console 2>&1
fi
sync
poweroff -f
