import { execFileSync } from "node:child_process";
import { resolve } from "node:path";
import { expect, it } from "vitest";

const LIBC = resolve(import.meta.dirname, "../../../common/adapters/linux/libc.ts");

it("what a listener throws ends the process, as any mistake of ours, and is told", () => {
  const program = `
    import { onReadable } from ${JSON.stringify(LIBC)};
    process.on("uncaughtException", (error) => { console.log("told", error.message); process.exit(0); });
    onReadable(0, () => { throw new Error("a mistake"); });
    setTimeout(() => { console.log("deaf"); process.exit(0); }, 5_000);
  `;
  const output = execFileSync(
    process.execPath,
    ["--import", "tsx", "--input-type=module", "--eval", program],
    { input: "something to read", encoding: "utf8" },
  );
  expect(output.trim()).toBe("told a mistake");
});
