import { describe } from "vitest";
import { homesBehindNat } from "../support/behind-nat.ts";
import { canUseNamespaces } from "../support/namespace.ts";
import { daemonsAreBuilt } from "../support/tunnel-lab.ts";

describe.skipIf(!canUseNamespaces() || !daemonsAreBuilt())("homes behind one NAT", () => {
  homesBehindNat({
    homes: [
      { name: "alice", ikev2: "psk" },
      { name: "bob", ikev2: "ed25519" },
    ],
  });
});
