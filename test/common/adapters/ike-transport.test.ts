/** What IKE's ports say when they cannot be had. */

import { expect, it } from "vitest";
import { IkeTransport } from "../../../common/adapters/ike-transport.ts";
import { parseIpv4 } from "../../../common/ip/address.ts";
import type { KeyedDataPlane } from "../../../common/tunnel/data-plane.ts";

it("says which key names an address that this machine does not have", () => {
  const open = () =>
    new IkeTransport({
      local: parseIpv4("192.0.2.77"),
      keyed: {} as KeyedDataPlane, // not reached
      onMessage: () => undefined,
    });
  expect(open).toThrow(
    "cannot open UDP port 500: EADDRNOTAVAIL (this machine does not have the address 192.0.2.77: see `address` in server.toml)",
  );
});
