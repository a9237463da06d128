#!/bin/sh
# Process 1 of every guest, in the first file system that the kernel unpacks: loads modules, finds the guest's disk, and
# hands over to what stays process 1. Where something is missing it says so and ends, which ends the machine.
/bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
fail() {
    echo "guest: $*" >/dev/console
    sync
    exit 1
}
mount -t proc none /proc || fail "no /proc"
mount -t sysfs none /sys || fail "no /sys"
mount -t devtmpfs none /dev || fail "no /dev"

guest=$(sed -n 's/.*brig\.guest=\([a-z0-9]*\).*/\1/p' /proc/cmdline)
init=$(sed -n 's/.*brig\.init=\([a-z]*\).*/\1/p' /proc/cmdline)

while read -r module; do
    # Where it is not loaded yet, io has other weights. Debian loads it by itself when a disk asks for it.
    [ "$init/$module" != systemd/bfq.ko ] || continue
    insmod "/modules/$module" || fail "$module"
done </modules/order

[ -b /dev/vda ] || fail "no disk"

mkdir -p /new
case $init in
    script)
        # Containers pivot into their root, which the kernel refuses in its first file system.
        mount -t tmpfs -o size=80%,mode=755 none /new || fail "no memory"
        cp -a /bin /etc /lib /root /sbin /usr /vm /new
        [ ! -d /lib64 ] || cp -a /lib64 /new
        mkdir -p /new/proc /new/sys /new/dev /new/run /new/tmp /new/var
        chmod 1777 /new/tmp
        mount -t ext4 /dev/vda /new/var || fail "the disk is not ext4"
        next=/vm/guest.sh
        ;;
    systemd)
        mount -t ext4 /dev/vda /new || fail "the disk is not ext4"
        mount -t tmpfs -o mode=755 none /new/run || fail "no memory"
        cp -a /vm /new/run/vm
        next=/lib/systemd/systemd
        ;;
    *) fail "no such init: $init" ;;
esac
for dir in proc sys dev; do
    mount --move "/$dir" "/new/$dir"
done
exec switch_root /new "$next" "$guest"
