#!/bin/sh
# Makes the disk of the guests with systemd: Debian with the engines as packages, and with what a server has by default, but for
# what would only cost time. Runs in a mount namespace of its own.
#
# tree: where it is put together; image: the disk; mirror, suite, packages: what; modules: the kernel's.
set -eu
tree=$1 image=$2 mirror=$3 suite=$4 packages=$5 modules=$6

debootstrap --variant=minbase --include="$packages" "$suite" "$tree" "$mirror" >"$tree.log" 2>&1 || {
    tail -n 20 "$tree.log" "$tree/debootstrap/debootstrap.log" >&2 || true
    exit 1
}
umount -R "$tree/proc" "$tree/sys" 2>/dev/null || true
rm -rf "$tree"/var/cache/apt/* "$tree"/var/lib/apt/lists/* "$tree"/usr/share/doc/* "$tree"/usr/share/man/* \
    "$tree"/usr/share/locale/* "$tree"/usr/bin/dnet

mkdir -p "$tree/lib/modules"
cp -a "$modules" "$tree/lib/modules/"
chroot "$tree" depmod "$(basename "$modules")"

echo guest >"$tree/etc/hostname"
echo "127.0.0.1 localhost guest" >"$tree/etc/hosts"
echo "/dev/vda / ext4 rw,noatime 0 0" >"$tree/etc/fstab"
# A machine id from the start: the first boot is every boot, and must not ask or preset anything.
echo 0123456789abcdef0123456789abcdef >"$tree/etc/machine-id"
mkdir -p "$tree/etc/systemd/journald.conf.d" "$tree/var/lib/systemd/linger"
printf '[Journal]\nStorage=volatile\n' >"$tree/etc/systemd/journald.conf.d/guest.conf"

# The ordinary user: may stay without a session, and has ids for containers.
chroot "$tree" useradd --create-home --uid 1000 --shell /bin/bash user
grep -q ^user: "$tree/etc/subuid" || echo user:100000:65536 >>"$tree/etc/subuid"
grep -q ^user: "$tree/etc/subgid" || echo user:100000:65536 >>"$tree/etc/subgid"
touch "$tree/var/lib/systemd/linger/user"

# The engines are started when their cases begin; timers and services that only look after a machine, never.
for unit in docker.service docker.socket containerd.service podman.service podman.socket podman-restart.service \
    podman-auto-update.service podman-auto-update.timer apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
    e2scrub_all.timer e2scrub_reap.service fstrim.timer getty@tty1.service remote-fs.target; do
    find "$tree/etc/systemd/system" -name "$unit" -type l -delete
done
for unit in systemd-timesyncd.service systemd-update-utmp.service getty-static.service systemd-sysusers.service \
    systemd-random-seed.service systemd-journal-flush.service systemd-pstore.service systemd-remount-fs.service modprobe@.service \
    systemd-ask-password-console.path systemd-ask-password-wall.path systemd-tmpfiles-clean.timer sys-kernel-debug.mount \
    sys-kernel-tracing.mount cryptsetup.target integritysetup.target veritysetup.target systemd-initctl.socket; do
    ln -sf /dev/null "$tree/etc/systemd/system/$unit"
done
# AppArmor is the kernel's; to compile Debian's own profiles at every boot takes ten seconds. Engines and cases load what they use.
ln -sf /dev/null "$tree/etc/systemd/system/apparmor.service"
# All devices are there, and have their drivers, when systemd starts. What comes later udev still hears of.
ln -sf /dev/null "$tree/etc/systemd/system/systemd-udev-trigger.service"
# They find nothing here, and each is a process more at every daemon-reload, of which the suites have dozens.
rm -f "$tree"/lib/systemd/system-generators/* "$tree"/usr/lib/systemd/user-generators/* \
    "$tree"/usr/lib/systemd/user-environment-generators/*

# The suites, when there is a job; otherwise a shell on the console. Either way its end is the machine's.
cat >"$tree/etc/systemd/system/suites.service" <<'END'
[Unit]
Description=The suites of this guest
ConditionPathExists=/run/vm/job.json
After=multi-user.target user@1000.service dbus.service systemd-logind.service
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=exec
Environment=HOME=/root
ExecStart=/run/vm/release/vm --inside
StandardInput=null
StandardOutput=journal+console
StandardError=journal+console
END
cat >"$tree/etc/systemd/system/shell.service" <<'END'
[Unit]
Description=A shell on the console
ConditionPathExists=!/run/vm/job.json
After=multi-user.target
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
ExecStart=-/sbin/agetty --autologin root --keep-baud 115200,57600,38400,9600 ttyS0 linux
StandardInput=tty
StandardOutput=tty
TTYPath=/dev/ttyS0
TTYReset=yes
END
mkdir -p "$tree/etc/systemd/system/default.target.wants"
for unit in suites.service shell.service; do
    ln -s "../$unit" "$tree/etc/systemd/system/default.target.wants/$unit"
done

# What containers run in: a shell and its words, as a directory and as what engines import.
rootfs=$tree/opt/rootfs
mkdir -p "$rootfs/bin" "$rootfs/etc" "$rootfs/proc" "$rootfs/sys" "$rootfs/dev" "$rootfs/tmp" "$rootfs/root"
cp "$tree/bin/busybox" "$rootfs/bin/busybox"
chroot "$rootfs" /bin/busybox --install -s /bin
echo "root:x:0:0:root:/root:/bin/sh" >"$rootfs/etc/passwd"
echo "root:x:0:" >"$rootfs/etc/group"
tar -C "$rootfs" -cf "$tree/opt/rootfs.tar" .

mke2fs -q -t ext4 -E lazy_itable_init=1 -d "$tree" "$image" 2G
