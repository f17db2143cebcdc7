/** Configuration files for tests, as texts. Their keys are as public as this file. */

export const digits = (octets: number, start: number): string =>
  Array.from({ length: octets }, (_, i) => ((start + i) % 256).toString(16).padStart(2, "0")).join(
    "",
  );

/** The lines of one association: CBC with HMAC. */
export const association = (table: string, spi: number, start: number): string => `
[${table}]
spi = ${spi}
suite = "aes-cbc-256-hmac-sha2-256-128"
key = "${digits(32, start)}"
integrity-key = "${digits(32, start + 100)}"
`;

export const CLIENT_TEXT = `
server = "203.0.113.1"

[tunnel]
link-local = "fe80::c"
server-link-local = "fe80::5"
prefixes = ["2001:db8:a::/56"]

[keys]
mode = "manual"
${association("keys.outbound", 0xc001, 1)}${association("keys.inbound", 0x5001, 2)}`;

export interface HomeChoices {
  readonly name?: string;
  readonly prefix?: string;
  /** Of the inbound association; the outbound one has the next. */
  readonly spi?: number;
  /** First octet of the outbound key; the inbound one has the next. */
  readonly key?: number;
  /** More lines of the home's table. */
  readonly more?: string;
}

export const homeText = (choices: HomeChoices = {}): string => {
  const { name = "alice", prefix = "2001:db8:a::/56", spi = 0xc001, key = 1, more = "" } = choices;
  return `
name = "${name}"
link-local = "fe80::c"
server-link-local = "fe80::5"
prefixes = ["${prefix}"]
${more}
${association("keys.outbound", spi + 1, key)}${association("keys.inbound", spi, key + 1)}`;
};
