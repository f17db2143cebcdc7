#!/usr/bin/env bash
# Runs the tests of the kernel data plane: directly where this kernel has xfrm interfaces, else in a guest, else not
# at all, with the reason. HOMETUN_KERNEL_TESTS=required makes that last case a failure.
set -euo pipefail
cd "$(dirname "$0")/../.."

skip() {
  echo "skipped: the kernel data plane is not tested: $1" >&2
  [ "${HOMETUN_KERNEL_TESTS:-}" = required ] && exit 1
  exit 0
}
has_xfrm_interfaces() {
  unshare --net sh -c 'ip link add probe type xfrm dev lo if_id 1' 2>/dev/null
}

vitest=(node_modules/vitest/vitest.mjs run --project kernel "$@")
if has_xfrm_interfaces; then
  exec node "${vitest[@]}"
fi
[ "$(uname -m)" = x86_64 ] || skip "this kernel has no xfrm interfaces, and the guest is for x86_64"
for tool in qemu-system-x86_64 busybox modprobe mkfs.ext4 apt-get; do
  PATH=$PATH:/usr/sbin:/sbin command -v $tool >/dev/null ||
    skip "this kernel has no xfrm interfaces (or this is not root), and a guest needs $tool"
done
# QEMU 7.2, whose processors translate side by side, was seen to run something other than what stands in memory where
# one thread of Node writes machine code beside what another runs: one start in twenty died of it. So only Vitest, which
# has to, makes machine code, and in one thread.
guest=(test/kernel/harness/guest.sh -t "${HOMETUN_KERNEL_TIMEOUT:-1200}"
  env HOMETUN_NODE_OPTIONS=--jitless node --single-threaded "${vitest[@]}")
if [ $# -gt 0 ] || [ "$(nproc)" -lt 2 ]; then
  exec "${guest[@]}"
fi

# All tests, in two guests side by side: the emulation of one hardly uses more than a processor. One takes these, which
# last about as long as all others together.
first=(test/kernel/{main-job,rewrites,standing}.test.ts)
rest=()
for file in test/kernel/*.test.ts; do
  [[ " ${first[*]} " == *" $file "* ]] || rest+=("$file")
done
said=$(mktemp)
setsid "${guest[@]}" "${rest[@]}" >"$said" 2>&1 &
second=$!
trap 'kill -- "-$second" 2>/dev/null || true; rm -f "$said"' EXIT
outcome=0
"${guest[@]}" "${first[@]}" || outcome=$?
wait "$second" || outcome=$?
cat "$said"
exit "$outcome"
