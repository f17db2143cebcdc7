// Run by systemd in service.test.ts: a service that has its UDP port kept, with the installed package's own modules.
// hometun itself keeps port 4500 so, where the kernel takes ESP out of UDP; where this runs it may not be able to.
const adapters = "/usr/lib/hometun/dist/common/adapters";
const { openDescriptorStore } = await import(`${adapters}/descriptor-store.js`);
const { openServiceManager } = await import(`${adapters}/systemd-notify.js`);
const { isUdpSocketOf, openIpv4Socket } = await import(`${adapters}/linux/ipv4-socket.js`);

const NAME = "esp-in-udp";
const PORT = 4501;
const manager = openServiceManager();
const store = openDescriptorStore(manager);
const kept = store.take(NAME);
if (process.argv.includes("drop")) {
  store.drop(NAME);
} else {
  const options = { kind: "udp", port: PORT, operation: "open", hints: {} };
  store.keep(NAME, kept ?? openIpv4Socket(options));
}
const isKept = kept !== undefined && isUdpSocketOf(kept, undefined, PORT);
process.stdout.write(`${JSON.stringify({ isKept, left: process.env.LISTEN_FDS ?? null })}\n`);
manager.tell(["READY=1"]);
setInterval(() => undefined, 60_000);
