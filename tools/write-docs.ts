/** `npm run docs`: writes the documents that are made of the code. */

import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { configurationReference } from "./configuration-reference.ts";

const ROOT = resolve(import.meta.dirname, "..");

writeFileSync(resolve(ROOT, "docs/configuration.md"), configurationReference());
