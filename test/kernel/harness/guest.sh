#!/usr/bin/env bash
# Runs a command in the guest, in a copy of this tree, and returns its exit status. Needs no privileges.
#
#   guest.sh [-m MEGABYTES] [-t SECONDS] [-o DIRECTORY] COMMAND...
#
# -t ends a guest that hangs; -o is where the files go that the command leaves in /out. HOMETUN_KVM=1 uses KVM.
set -euo pipefail

harness=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$harness/../../.." && pwd)
memory=1536
seconds=600
output=
while getopts m:t:o: option; do
  case $option in
    m) memory=$OPTARG ;;
    t) seconds=$OPTARG ;;
    o) output=$(realpath -m "$OPTARG") ;;
    *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))

command -v qemu-system-x86_64 >/dev/null || {
  echo "kernel harness: needs qemu-system-x86_64 (qemu-system-x86)" >&2
  exit 1
}
cache=$("$harness/prepare.sh")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Each program in one file: an emulated machine takes long to find, read and compile hundreds of modules.
bundle() { # FROM TO
  "$project/node_modules/.bin/esbuild" "$project/$1" --bundle --platform=node --format=esm --outfile="$work/tree/$2" \
    --external:koffi --external:netlink --external:raw-socket --log-level=error \
    --banner:js='import { createRequire } from "node:module"; const require = createRequire(import.meta.url);'
}
mkdir "$work/tree"
for daemon in client server; do
  [ ! -e "$project/dist/$daemon/main.js" ] || bundle "dist/$daemon/main.js" "dist/$daemon/main.js"
done
for program in "$project"/test/support/*-process.ts; do
  program=${program#"$project/"}
  bundle "$program" "${program%.ts}.bundle.js"
done
tar -cf "$work/tree.tar" -C "$project" --exclude=test/kernel/harness package.json vitest.config.ts tsconfig.json \
  client common server examples test bench/kernel.ts
tar -rf "$work/tree.tar" -C "$work/tree" .
truncate -s 64M "$work/out.img"
printf '%q ' "$@" >"$work/command"
truncate -s 4096 "$work/command"

if [ "${HOMETUN_KVM:-}" = 1 ]; then
  accelerator=(-accel kvm)
else
  accelerator=(-accel "tcg,thread=multi,tb-size=512")
fi
drive() { # NAME FILE OPTIONS
  echo "-drive if=none,id=$1,file=$2,format=raw${3-} -device virtio-blk-pci,drive=$1"
}
# no_timer_check: on a busy machine the timer may seem not to tick when the kernel looks whether it does.
outcome=0
# shellcheck disable=SC2046
timeout --foreground "$seconds" qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
  "${accelerator[@]}" -cpu max -smp 2 -m "$memory" \
  -kernel "$cache/vmlinuz" -initrd "$cache/initramfs.cpio" \
  -append "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check" \
  $(drive root "$cache/root.ext4" ,snapshot=on) $(drive tree "$work/tree.tar" ,readonly=on) \
  $(drive out "$work/out.img") $(drive command "$work/command" ,readonly=on) \
  -device virtio-rng-pci -serial stdio -chardev "file,id=status,path=$work/status" -serial chardev:status \
  </dev/null || outcome=$?
status=$(sed -n 's/^status=\([0-9]*\).*/\1/p' "$work/status")
if [ -n "$output" ]; then
  mkdir -p "$output"
  tar -C "$output" -xf "$work/out.img" 2>/dev/null || true
fi
if [ -z "$status" ]; then
  echo "kernel harness: the guest told no exit status (qemu $outcome; 124: time was over)" >&2
  exit 125
fi
exit "$status"
