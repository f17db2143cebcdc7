import { expect, test } from "vitest";
import {
  formatCount,
  formatDuration,
  formatOctets,
  formatQuantity,
} from "../../../common/text/units.ts";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

test.each([
  [-5, "0 ms"],
  [0, "0 ms"],
  [4.26, "4.3 ms"],
  [7, "7 ms"],
  [9.99, "10 ms"],
  [999.9, "999 ms"],
  [SECOND, "1.0 s"],
  [4_290, "4.2 s"],
  [59 * SECOND, "59 s"],
  [MINUTE, "1 min"],
  [3 * MINUTE + 5 * SECOND, "3 min 5 s"],
  [2 * HOUR + 10 * MINUTE + 59 * SECOND, "2 h 10 min"],
  [9 * DAY + 4 * HOUR, "9 d 4 h"],
  [400 * DAY, "400 d"],
])("%d ms reads %s", (milliseconds, text) => {
  expect(formatDuration(milliseconds)).toBe(text);
});

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [1_000, "0.98 KiB"],
  [1_024, "1.00 KiB"],
  [15_000, "14.6 KiB"],
  [150_000, "146 KiB"],
  [1_500_000_000, "1.40 GiB"],
  [2 ** 60, "1024 PiB"],
])("%d octets read %s", (octets, text) => {
  expect(formatOctets(octets)).toBe(text);
});

test.each([
  [0, "0"],
  [999, "999"],
  [1_000, "1,000"],
  [1_234_567, "1,234,567"],
])("%d reads %s", (count, text) => {
  expect(formatCount(count)).toBe(text);
});

test.each([
  [0, "0 packets"],
  [1, "1 packet"],
  [2_000, "2,000 packets"],
])("%d of something reads %s", (count, text) => {
  expect(formatQuantity(count, "packet")).toBe(text);
});
