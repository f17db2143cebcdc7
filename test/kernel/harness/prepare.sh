#!/usr/bin/env bash
# Makes the guest that tests with a real kernel run in: Debian's cloud kernel, fetched but not installed, a small
# initramfs that finds the disk, and a disk with Node, the tools the tests call and the packages they need.
# Prints the directory they are in. What is there and still fits is not made again.
#
#   HOMETUN_KERNEL_CACHE   where to keep it; default ~/.cache/hometun-kernel
set -euo pipefail
umask 022

harness=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$harness/../../.." && pwd)
cache=${HOMETUN_KERNEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hometun-kernel}
PATH=$PATH:/usr/sbin:/sbin

# Modules the guest may need; those a module depends on come with it.
DISK_MODULES="virtio_pci virtio_blk virtio_rng"
TEST_MODULES="xfrm_user xfrm_interface esp4 xfrm4_tunnel gcm ghash_generic ghash_clmulni_intel aesni_intel ctr cbc
  hmac sha256_generic sha512_generic authenc authencesn seqiv echainiv drbg jitterentropy_rng veth dummy nlmon tun sch_netem
  nf_tables nft_ct nft_chain_nat nft_masq nft_counter nft_limit nft_meta_bridge nft_xfrm"
TOOLS="node ip tc ping tcpdump bash nsenter unshare sysctl iperf3 nft"

say() { echo "kernel harness: $*" >&2; }
need() { command -v "$1" >/dev/null || { say "needs $1 ($2)"; exit 1; }; }

need busybox busybox-static
need modprobe kmod
need mkfs.ext4 e2fsprogs
need dpkg dpkg

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9

# The metapackage names the present kernel; security updates replace it, and the old file is gone from the archive.
package=$(apt-cache depends --no-recommends --no-suggests linux-image-cloud-amd64 2>/dev/null |
  awk '/Depends: linux-image-[0-9].*-cloud-amd64$/ { print $2; exit }')
if [ -n "$package" ] && [ ! -e "$cache/$package/complete" ]; then
  say "fetching $package"
  rm -rf "$cache"/linux-image-*
  mkdir -p "$cache/$package"
  (cd "$cache/$package" && apt-get download -qq "$package" && dpkg -x ./*.deb tree && rm -f ./*.deb)
  depmod -b "$cache/$package/tree" "${package#linux-image-}" # the package has no modules.dep
  touch "$cache/$package/complete"
fi
if [ -z "$package" ]; then # apt knows nothing, offline perhaps: an earlier kernel will do
  package=$(basename "$(dirname "$(ls "$cache"/linux-image-*/complete 2>/dev/null | tail -1)")" 2>/dev/null || true)
  [ -n "$package" ] || { say "apt does not know linux-image-cloud-amd64: apt-get update?"; exit 1; }
fi
release=${package#linux-image-}
tree=$cache/$package/tree

fits=$({
  echo "$release $(node --version)"
  cat "$0" "$harness/initramfs-init" "$harness/guest-init" "$project/package-lock.json"
} | sha256sum | cut -d' ' -f1)
if [ "$(cat "$cache/fits" 2>/dev/null)" = "$fits" ]; then
  echo "$cache"
  exit
fi

say "making the guest, Linux $release"
rm -f "$cache/fits"
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

modules_of() { # with what they depend on, in the order to load them
  for module in "$@"; do
    modprobe -d "$tree" -S "$release" --show-depends "$module" 2>/dev/null | awk '$1 == "insmod" { print $2 }'
  done | awk '!seen[$0]++'
}

initramfs=$stage/initramfs
mkdir -p "$initramfs"/{bin,dev,proc,sys,root,modules}
cp -L "$(command -v busybox)" "$initramfs/bin/busybox"
cp "$harness/initramfs-init" "$initramfs/init"
number=10
for file in $(modules_of $DISK_MODULES); do
  cp "$file" "$initramfs/modules/$number-$(basename "$file")"
  number=$((number + 1))
done
(cd "$initramfs" && find . | busybox cpio -o -H newc 2>/dev/null) >"$cache/initramfs.cpio"

root=$stage/root
mkdir -p "$root"/{bin,dev,proc,sys,tmp,run,etc,root,var/log,out,hometun,lib/modules/"$release"}
for directory in sbin usr/bin usr/sbin; do
  mkdir -p "$root/$(dirname $directory)"
  ln -s /bin "$root/$directory"
done
cp -L "$(command -v busybox)" "$root/bin/busybox"
for applet in $(busybox --list); do
  [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
libraries_of() {
  ldd "$1" 2>/dev/null | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -Lu "$library" "$root$library"
  done
}
for tool in $TOOLS; do
  file=$(command -v "$tool") || continue # what a test cannot do without it says itself
  rm -f "$root/bin/$tool"
  cp -L "$file" "$root/bin/$tool"
  libraries_of "$file"
done
ln -sf bash "$root/bin/sh" # busybox's shell would run its own ip and ping
cp "$harness/guest-init" "$root/init"
cp /etc/protocols /etc/services "$root/etc/" 2>/dev/null || true
echo "root:x:0:0:root:/root:/bin/sh" >"$root/etc/passwd"
echo "root:x:0:" >"$root/etc/group" # tcpdump would become its own user, who may not write
echo "127.0.0.1 localhost" >"$root/etc/hosts"
for file in $(modules_of $TEST_MODULES); do
  relative=${file#*"lib/modules/$release/"}
  mkdir -p "$root/lib/modules/$release/$(dirname "$relative")"
  cp "$file" "$root/lib/modules/$release/$relative"
done
cp "$tree/lib/modules/$release"/modules.{builtin,builtin.modinfo,order} "$root/lib/modules/$release/"
depmod -b "$root" "$release"
# Checking and formatting are done outside.
tar -C "$project" --exclude='node_modules/@biomejs' --exclude='node_modules/typescript' \
  --exclude='node_modules/.cache' -cf - node_modules | tar -C "$root/hometun" -xf -
for addon in "$root"/hometun/node_modules/@rolldown/*/*.node; do libraries_of "$addon"; done

rm -f "$cache/root.ext4"
truncate -s 700M "$cache/root.ext4"
mkfs.ext4 -q -F -O ^has_journal -d "$root" "$cache/root.ext4"
cp "$tree/boot/vmlinuz-$release" "$cache/vmlinuz"
echo "$fits" >"$cache/fits"
echo "$cache"
