/** What is said of a home that nobody has heard of. */

import { ConfigError } from "../../common/errors.ts";

export function noSuchHome(name: string): ConfigError {
  return new ConfigError(`no home is called ${JSON.stringify(name)}`);
}
