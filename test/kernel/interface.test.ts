import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab, type Namespace } from "../support/namespace.ts";
import { canUseXfrmInterfaces } from "../support/xfrm.ts";

describe.skipIf(!canUseXfrmInterfaces())("the kernel under test", () => {
  const lab = new Lab();
  let host: Namespace;

  beforeAll(async () => {
    host = await lab.namespace("host");
  });

  afterAll(() => lab.dispose());

  it("has xfrm interfaces, ESP with AES-GCM and MIGRATE", async () => {
    await host.run("ip link add ht0 type xfrm dev lo if_id 0x11");
    expect(await host.run("ip -d link show ht0")).toContain("xfrm if_id 0x11");
    const key = `0x${"a1".repeat(20)}`;
    await host.run(
      `ip xfrm state add src 192.0.2.7 dst 198.51.100.1 proto esp spi 0x1001 mode tunnel replay-window 128 flag esn aead 'rfc4106(gcm(aes))' ${key} 128 if_id 0x11 sel src ::/0 dst ::/0`,
    );
    expect(await host.run("ip xfrm state")).toContain("spi 0x00001001");
  });
});
