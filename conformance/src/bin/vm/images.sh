#!/bin/sh
# Makes the images that brig runs in a guest, as one archive of the form that `docker save` writes: `machine` is a Debian that boots,
# `tiny` is a shell and its words. Every byte costs a guest's emulated processor, so what nobody reads is taken out.
#
# tree: where they are put together; archive: the result; mirror, suite, packages: what.
set -eu
tree=$1 archive=$2 mirror=$3 suite=$4 packages=$5

root=$tree/root
mkdir -p "$tree"
debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$mirror" >"$tree/log" 2>&1 || {
    tail -n 20 "$tree/log" "$root/debootstrap/debootstrap.log" >&2 || true
    exit 1
}
umount -R "$root/proc" "$root/sys" 2>/dev/null || true

tiny=$tree/tiny
mkdir -p "$tiny/bin" "$tiny/etc" "$tiny/tmp" "$tiny/root"
chmod 1777 "$tiny/tmp"
cp "$root/bin/busybox" "$tiny/bin/busybox"
for name in $("$root/bin/busybox" --list); do
    [ "$name" = busybox ] || ln -s busybox "$tiny/bin/$name"
done
echo "root:x:0:0:root:/root:/bin/sh" >"$tiny/etc/passwd"
echo "root:x:0:" >"$tiny/etc/group"

rm -rf "${root:?}"/var/cache/* "${root:?}"/var/lib/apt/* "${root:?}"/var/lib/dpkg "${root:?}"/var/log/* "${root:?}"/usr/share/* "${root:?}"/dev/* \
    "${root:?}"/bin/busybox "${root:?}"/debootstrap "${root:?}"/lib/udev/hwdb.* "${root:?}"/usr/lib/apt "${root:?}"/usr/lib/dpkg \
    "$root"/usr/lib/x86_64-linux-gnu/gconv "$root"/usr/lib/x86_64-linux-gnu/perl* "$root"/usr/bin/perl* "$root"/usr/bin/apt* \
    "$root"/usr/bin/dpkg* "$root"/usr/lib/locale "$root"/usr/lib/x86_64-linux-gnu/libapt* "$root"/usr/lib/systemd/catalog
# D-Bus looks for its policy there.
mkdir -p "$root/usr/share/dbus-1/system.d" "$root/usr/share/dbus-1/system-services" "$root/var/log" "$root/var/cache"
cat >"$root/usr/share/dbus-1/system.conf" <<'END'
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <user>messagebus</user>
  <fork/>
  <pidfile>/run/dbus/pid</pidfile>
  <auth>EXTERNAL</auth>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <policy context="default"><allow user="*"/><allow own="*"/><allow send_type="*"/><allow receive_type="*"/></policy>
</busconfig>
END
# A container gets its own.
: >"$root/etc/machine-id"
# A service of its own beside what Debian brings: it says that it runs, and that it was asked to end.
cat >"$root/etc/systemd/system/greeter.service" <<'END'
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'echo up >/var/greeter; echo greeter is up >/dev/console'
ExecStop=/bin/sh -c 'echo down >>/var/greeter'
END
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s ../greeter.service "$root/etc/systemd/system/multi-user.target.wants/greeter.service"

layer() { # name: its layer, and what the manifest says of it; the rest of the arguments is its command, as JSON
    tar --sort=name --numeric-owner --mtime=@1700000000 -C "$tree/$1" -cf "$tree/out/$1.tar" .
    sum=$(sha256sum "$tree/out/$1.tar")
    printf '{"architecture":"amd64","os":"linux","config":{"Cmd":%s,"Env":["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
        "$2" "${sum%% *}" >"$tree/out/$1.json"
    printf '{"Config":"%s.json","RepoTags":["%s:latest"],"Layers":["%s.tar"]}' "$1" "$3" "$1"
}
mkdir "$tree/out"
{
    printf '['
    layer root '["/sbin/init"]' machine
    printf ','
    layer tiny '["sh"]' tiny
    printf ']'
} >"$tree/manifest"
mv "$tree/manifest" "$tree/out/manifest.json"
tar -C "$tree/out" -cf "$archive" manifest.json root.json tiny.json tiny.tar root.tar
