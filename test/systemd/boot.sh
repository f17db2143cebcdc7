#!/bin/bash
# Boots a real systemd as PID 1, without a virtual machine: in its own mount, PID, UTS, IPC and cgroup namespaces, on an
# overlay of this machine's root that lies in memory, in the network namespace it is started in. What it changes is gone
# with it. machine.ts starts it, and enters it by nsenter.
#
#   boot.sh NAME FOLDER [UDEV]
#
# FOLDER is copied to /opt/test inside. UDEV: where udev is, if it is to run, so that interfaces are devices to systemd.
set -euo pipefail
export NAME=$1 FOLDER=$2 UDEV=${3:-}
BASE=$(mktemp -d)
export BASE

# systemd wants the cgroup it is in to be the root of all it sees.
mount --make-rprivate /
mount -t tmpfs tmpfs "$BASE"
mkdir "$BASE"/{cgroup,up,work,root}
mount -t cgroup2 none "$BASE/cgroup"
mkdir -p "$BASE/cgroup/$NAME"
echo $$ >"$BASE/cgroup/$NAME/cgroup.procs"

exec unshare --mount --pid --fork --uts --ipc --cgroup --propagation private bash -c '
  set -euo pipefail
  hostname "$NAME"
  mount -t overlay overlay -o "lowerdir=/,upperdir=$BASE/up,workdir=$BASE/work" "$BASE/root"
  cd "$BASE/root"

  mount -t proc proc proc
  # Where /sys cannot be written, systemd knows no devices, and waits for none.
  if [ -n "$UDEV" ]; then mount -t sysfs sysfs sys; else mount -t sysfs -o ro sysfs sys; fi
  mount -t cgroup2 cgroup2 sys/fs/cgroup
  mount -t tmpfs tmpfs run
  mount -t tmpfs -o mode=755 tmpfs dev
  mkdir -p dev/pts dev/shm dev/net run/lock
  mount -t devpts devpts dev/pts -o newinstance,ptmxmode=0666
  mount -t tmpfs tmpfs dev/shm
  # /dev/fuse stands for a device that everybody may open and the daemons may not.
  for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0 fuse:10:229 net/tun:10:200; do
    IFS=: read -r name major minor <<<"$node"
    mknod -m 666 "dev/$name" c "$major" "$minor"
  done
  ln -s pts/ptmx dev/ptmx
  ln -s /proc/self/fd dev/fd
  mount -t tmpfs tmpfs tmp
  mkdir -p opt/test
  cp -r "$FOLDER"/. opt/test/

  # Units of this machine that have no business here.
  rm -rf etc/systemd/system/*
  mask() { for unit; do ln -sf /dev/null "etc/systemd/system/$unit"; done; }
  mask systemd-{firstboot,networkd,networkd-wait-online,udev-trigger,modules-load,remount-fs,sysctl,random-seed}.service \
    systemd-{timesyncd,binfmt}.service systemd-networkd.socket sys-kernel-{debug,tracing}.mount \
    dev-{hugepages,mqueue}.mount proc-sys-fs-binfmt_misc.automount kmod-static-nodes.service \
    systemd-tmpfiles-setup-dev.service apparmor.service strongswan.service strongswan-starter.service
  if [ -n "$UDEV" ]; then
    # Of all rules the one that makes interfaces known; the other devices are not ours to look after.
    [ "$UDEV" = / ] || tar -C "$UDEV" -cf - . | tar --keep-directory-symlink -xf -
    rm -rf usr/lib/udev/rules.d/* lib/udev/rules.d/* etc/udev/rules.d/*
    mkdir -p etc/udev/rules.d
    echo "SUBSYSTEM==\"net\", KERNEL!=\"lo\", TAG+=\"systemd\", ENV{SYSTEMD_ALIAS}+=\"/sys/subsystem/net/devices/\$name\"" \
      >etc/udev/rules.d/99-net.rules
    # systemd listens to udev only if this is there when it starts.
    mkdir run/udev
    touch run/udev/control
  else
    mask systemd-udevd.service systemd-udevd-{kernel,control}.socket
  fi
  printf "%s\n" "[Unit]" "Description=test" "Requires=basic.target systemd-journald.service dbus.service" \
    "Wants=multi-user.target" "After=basic.target" >etc/systemd/system/test.target
  mask getty.target cron.service e2scrub_reap.service
  echo uninitialized >etc/machine-id
  : >etc/fstab
  # Containers forbid packages to start anything; this is to be a machine as others are.
  rm -f usr/sbin/policy-rc.d

  mkdir -p mnt/old
  pivot_root . mnt/old
  umount -l /mnt/old
  exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=test.target \
    --log-target=journal --show-status=no
'
