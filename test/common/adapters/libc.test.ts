import { describe, expect, test } from "vitest";
import { errnoName } from "../../../common/adapters/linux/libc.ts";

describe("the name of an error number", () => {
  // linux/asm-generic/errno-base.h and errno.h.
  test.each([
    [1, "EPERM"],
    [11, "EAGAIN"],
    [92, "ENOPROTOOPT"],
    [95, "EOPNOTSUPP"],
    [105, "ENOBUFS"],
  ])("%i is what Linux calls %s", (number, name) => {
    expect(errnoName(number)).toBe(name);
  });

  test("of a number that nobody knows is the number", () => {
    expect(errnoName(4_095)).toBe("errno 4095");
  });
});
