import { describe } from "vitest";
import { homesBehindNat } from "../support/behind-nat.ts";
import { daemonsAreBuilt } from "../support/tunnel-lab.ts";
import { canUseXfrmInterfaces } from "../support/xfrm.ts";

const KERNEL = 'data-plane = "kernel"';

describe.skipIf(!canUseXfrmInterfaces() || !daemonsAreBuilt())("homes behind one NAT", () => {
  homesBehindNat({
    homes: [
      { name: "alice", ikev2: "psk", client: KERNEL },
      { name: "bob", ikev2: "ed25519" },
    ],
    server: KERNEL,
    isManaged: true,
  });
});
