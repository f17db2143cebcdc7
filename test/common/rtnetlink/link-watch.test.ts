import fc from "fast-check";
import { beforeEach, describe, expect, it } from "vitest";
import { MalformedError } from "../../../common/errors.ts";
import { LinkWatch } from "../../../common/rtnetlink/link-watch.ts";

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ""), "hex"));

/** struct ifinfomsg of interface 5: family and type, index, flags, change. */
const link = (flags: string) => hex(`0000 feff 05000000 ${flags} 00000000`);
const UP = link("d1100100"); // POINTOPOINT,NOARP,UP,LOWER_UP as `ip monitor link` had it of a TUN interface
const DOWN = link("90100000");
/** struct ifaddrmsg of interface 5, then IFA_ADDRESS. */
const address = (octets: string) => hex(`0a 80 82 00 05000000 14000100 ${octets}`);
const OURS = address("fe80 0000 0000 0000 0000 0000 0000 000c");
const OTHER = address("fe80 0000 0000 0000 0000 0000 0000 000d");

describe("the watch over tunnel interfaces", () => {
  let watch: LinkWatch;
  beforeEach(() => {
    watch = new LinkWatch();
    watch.keep(5, "up", ["fe80::c"]);
  });

  const rows: readonly [rule: string, act: () => void, doubtful: number[]][] = [
    ["doubts one that went down", () => watch.linkChanged(DOWN), [5]],
    ["ignores that one is up which is", () => watch.linkChanged(UP), []],
    ["doubts one that lost an address it should have", () => watch.addressRemoved(OURS), [5]],
    ["ignores the loss of another address", () => watch.addressRemoved(OTHER), []],
    ["doubts all when messages were lost", () => watch.overrun(), [5]],
    [
      "ignores one that was removed",
      () => {
        watch.linkChanged(DOWN);
        watch.linkRemoved(DOWN);
        watch.linkChanged(DOWN);
      },
      [],
    ],
    [
      "ignores that one is still down while our setting it up is under way",
      () => {
        watch.keep(5, "rising", ["fe80::c"]);
        watch.linkChanged(DOWN);
        watch.linkChanged(UP);
      },
      [],
    ],
    [
      "doubts one that went down after we had set it up",
      () => {
        watch.keep(5, "rising", ["fe80::c"]);
        watch.linkChanged(UP);
        watch.linkChanged(DOWN);
      },
      [5],
    ],
    [
      "doubts one that is known to be down only when it is up",
      () => {
        watch.keep(5, "down", ["fe80::c"]);
        watch.linkChanged(DOWN);
        watch.addressRemoved(OURS);
        expect(watch.hasDoubts).toBe(false);
        watch.linkChanged(UP);
      },
      [5],
    ],
  ];
  it.each(rows)("%s", (_, act, doubtful) => {
    act();
    expect(watch.hasDoubts).toBe(doubtful.length > 0);
    expect(watch.takeDoubtful()).toEqual(doubtful);
    expect(watch.hasDoubts).toBe(false);
  });

  it("takes any octets, or says that they are malformed", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (octets) => {
        for (const tell of [watch.linkChanged, watch.addressRemoved, watch.linkRemoved]) {
          try {
            tell.call(watch, octets);
          } catch (error) {
            expect(error).toBeInstanceOf(MalformedError);
          }
        }
      }),
    );
  });
});
