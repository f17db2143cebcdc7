import { defineConfig } from "vitest/config";

/** For Node wherever a test of the kernel's plane starts it. */
const { NODE_OPTIONS = "", HOMETUN_NODE_OPTIONS = NODE_OPTIONS } = process.env;

const minutes = (count: number) => count * 60_000;

/** They count milliseconds or fill the machine with packets. */
const ALONE = ["address-watch", "flood", "offload"].map((name) => `test/netns/${name}.test.ts`);

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/{common,client,server}/**/*.test.ts", "test/*.test.ts"],
          // They wait for nothing but a processor.
          testTimeout: minutes(0.5),
        },
      },
      {
        test: {
          name: "netns",
          include: ["test/netns/**/*.test.ts"],
          exclude: ALONE,
          // Each file has namespaces of its own, and mostly waits.
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
          testTimeout: minutes(1),
          hookTimeout: minutes(1),
        },
      },
      {
        test: {
          name: "netns-alone",
          include: ALONE,
          fileParallelism: false,
          sequence: { groupOrder: 2 },
          testTimeout: minutes(1),
          hookTimeout: minutes(1),
        },
      },
      {
        test: {
          name: "systemd",
          include: ["test/systemd/**/*.test.ts"],
          fileParallelism: false,
          testTimeout: minutes(1),
          hookTimeout: minutes(2),
        },
      },
      {
        test: {
          name: "kernel",
          include: ["test/kernel/**/*.test.ts"],
          fileParallelism: false,
          // It may run in an emulated machine: see test/kernel/run.sh.
          execArgv: process.execArgv,
          env: { NODE_OPTIONS: HOMETUN_NODE_OPTIONS },
          testTimeout: minutes(5),
          hookTimeout: minutes(7),
        },
      },
    ],
  },
});
