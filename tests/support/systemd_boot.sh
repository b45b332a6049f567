#!/bin/sh
# Starts systemd as the first process of name spaces of its own, on a copy of this machine's root that nobody keeps.
# To be run by `unshare --mount --pid --fork --cgroup --uts --ipc --net`, with the folder to share and bk as arguments.
set -eu
share=$1
bk=$2

mount --make-rprivate /
mkdir "$share/base"
mount -t tmpfs tmpfs "$share/base"
mkdir "$share/base/upper" "$share/base/work" "$share/base/root"
root=$share/base/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$share/base/upper,workdir=$share/base/work" "$root"
# What lies on other file systems than the root is not in it.
mkdir -p "$root/proc" "$root/sys" "$root/run" "$root/tmp" "$root/dev" "$root/share" "$root/usr/local/bin"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 none "$root/sys/fs/cgroup"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount --rbind /dev "$root/dev"
mount --bind "$share" "$root/share"
touch "$root/usr/local/bin/bk"
mount --bind "$bk" "$root/usr/local/bin/bk"

# Nothing of this machine is started.
rm -rf "$root"/etc/systemd/system/*.wants "$root/etc/bk"
cat >"$root/etc/systemd/system/try.service" <<'UNIT'
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/sh -c "/bin/sh /share/inside.sh >/share/said 2>&1; touch /share/done"
UNIT
cat >"$root/etc/systemd/system/try.target" <<'UNIT'
[Unit]
Requires=sysinit.target
Wants=try.service
UNIT
# The credentials of services are mounted in one place and seen in another.
mount --make-rshared "$root"
cd "$root"
exec chroot "$root" /usr/bin/env -i container=unshare PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --unit=try.target --log-target=console
