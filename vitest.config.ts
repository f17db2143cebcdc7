import { defineConfig } from "vitest/config";

const minutes = (count: number) => count * 60_000;

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/{common,client,server}/**/*.test.ts", "test/*.test.ts"],
        },
      },
      {
        test: {
          name: "netns",
          include: ["test/netns/**/*.test.ts"],
          fileParallelism: false,
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
          // It may run in an emulated machine.
          testTimeout: minutes(5),
          hookTimeout: minutes(7),
        },
      },
    ],
  },
});
