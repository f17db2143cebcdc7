/**
 * The errors that travel between layers. Which is used when: CONTRIBUTING.md, "Errors".
 */

/** Octets that do not obey their own format. Thrown by decoders only, caught once at the intake. */
export class MalformedError extends Error {
  override readonly name = "MalformedError";
  /** The protocol that was being decoded, such as `nd`. */
  readonly layer: string;
  /** Stable kebab-case reason; callers and tests match it, never the text. */
  readonly code: string;

  constructor(layer: string, code: string, detail: string) {
    super(`${layer}: ${detail}`);
    this.layer = layer;
    this.code = code;
  }
}

/** The configuration, or the command line, is wrong. Shown as one line; exit status 2. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  /** The file at fault, if one is. */
  readonly file: string | undefined;
  /** Dotted path of the key at fault, such as `tunnel.prefixes[0]`. */
  readonly key: string | undefined;

  constructor(expectation: string, where: { file?: string; key?: string } = {}) {
    super([where.file, where.key, expectation].filter((part) => part !== undefined).join(": "));
    this.file = where.file;
    this.key = where.key;
  }
}

/** The operating system failed us: what we were doing, and its own word for why. */
export class SystemError extends Error {
  override readonly name = "SystemError";
  /** What was being done, lower case, such as `open the tunnel interface ht0`. */
  readonly operation: string;
  /** The system's name of the failure, such as `EPERM`. */
  readonly code: string;
  /** What the user can do about it, if we know. */
  readonly hint: string | undefined;

  constructor(operation: string, code: string, options: { cause?: unknown; hint?: string } = {}) {
    super(
      `cannot ${operation}: ${code}${options.hint === undefined ? "" : ` (${options.hint})`}`,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.operation = operation;
    this.code = code;
    this.hint = options.hint;
  }
}
