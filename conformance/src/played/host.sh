# Makes the played host out of new namespaces, then becomes the program that uses it. Runs as PID 1 there.
# $1: its directory. $2: "join" or "arrange". The rest: the program and its arguments.
set -eu
dir=$1 stage=$2
shift 2

if [ "$stage" = join ]; then
    # Each hierarchy's directory for this run; a cgroup namespace made after joining has it as its root.
    while read -r cgroup; do
        echo 0 >"$cgroup/cgroup.procs"
    done <"$dir/cgroups"
    exec unshare --cgroup sh "$dir/host.sh" "$dir" arrange "$@"
fi

hostname played-host
mount -t proc proc /proc
# Engines write below /etc, /var and /run; the machine's own stay as they are.
mkdir -p "$dir/overlay"
overlay() {
    mkdir -p "$dir/overlay/$1/upper" "$dir/overlay/$1/work"
    mount -t overlay -o "lowerdir=/$1,upperdir=$dir/overlay/$1/upper,workdir=$dir/overlay/$1/work" overlay "/$1"
}
if ! overlay etc 2>/dev/null; then
    # An overlay cannot lie on another overlay: inside a container the changes go to memory.
    mount -t tmpfs tmpfs "$dir/overlay"
    overlay etc
fi
overlay var
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/lock

# The same hierarchies where they were, each showing this run's cgroup as its root.
while read -r _ point type options _; do
    case $type in cgroup | cgroup2) echo "$point $type $options" ;; esac
done </proc/mounts >"$dir/hierarchies"
umount -R /sys/fs/cgroup
if ! grep -q '^/sys/fs/cgroup cgroup2' "$dir/hierarchies"; then
    mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
fi
while read -r point type options; do
    mkdir -p "$point"
    controllers=$(echo "$options" | tr ',' '\n' | grep -E '^(cpu|cpuacct|cpuset|memory|devices|freezer|blkio|pids|hugetlb|perf_event|net_cls|net_prio|rdma|misc|name=.*)$' | paste -s -d , || true)
    if [ "$type" = cgroup2 ]; then
        mount -t cgroup2 cgroup2 "$point"
    else
        mount -t cgroup -o "$controllers" cgroup "$point"
    fi
done <"$dir/hierarchies"
if grep -q '^/sys/fs/cgroup cgroup2' "$dir/hierarchies"; then
    # A v2 cgroup with processes of its own cannot hand its controllers down.
    mkdir /sys/fs/cgroup/init
    echo 0 >/sys/fs/cgroup/init/cgroup.procs
    for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
        echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
    done
fi

ip link set lo up
# Not exec: PID 1 has to collect the processes that lose their parents, and a shell does.
code=0
"$@" || code=$?
exit "$code"
