/** Why there are no keys, for people: the cause in words, and what to do next. Pure. */

import type { CloseReason } from "../common/ikev2/session-types.ts";
import { NotifyType } from "../common/ikev2/wire/payloads/notify.ts";

/** The only one that a firewall may be to blame for. */
export const NO_IKE_ANSWER = "the server does not answer IKE";

type Distrust = Extract<CloseReason, { kind: "not-authentic" }>["why"];

/** Why an IKE SA ended, or was none; `identity` is ours. */
export function describeClose(reason: CloseReason, identity: string): string {
  switch (reason.kind) {
    case "timeout":
    case "half-open":
      return NO_IKE_ANSWER;
    case "refused":
      return `the server refuses: ${describeRefusal(reason.notifyType, identity)}`;
    case "not-authentic":
      return `the server is not who it should be: ${DISTRUST[reason.why]}`;
    case "protocol-error":
      return `the server breaks the protocol: ${reason.code}`;
    case "by-peer":
      return "the server closed the IKE SA";
    case "asked":
    case "lost-by-peer":
    case "abandoned":
      return "closed";
  }
}

/** Why there is an IKE SA, but no Child SA. */
export function describeChildRefusal(notifyType: number, identity: string): string {
  return `the server refuses keys for ESP: ${describeRefusal(notifyType, identity)}`;
}

/** An error notification's number, RFC 7296 section 3.10.1. */
function describeRefusal(notifyType: number, identity: string): string {
  switch (notifyType) {
    case NotifyType.authenticationFailed:
      return `it does not know ${identity}, or has another key for it (AUTHENTICATION_FAILED): give the ISP what \`hometun init\` printed`;
    case NotifyType.noProposalChosen:
      return "it takes none of our ciphers (NO_PROPOSAL_CHOSEN): compare suites and groups at both ends";
    case NotifyType.internalAddressFailure:
      return `it has no prefix for ${identity} (INTERNAL_ADDRESS_FAILURE): ask the ISP for one`;
    case NotifyType.tsUnacceptable:
      return `it does not take our traffic selectors (TS_UNACCEPTABLE): ask the ISP which prefixes it has for ${identity}`;
    default:
      return `notification ${notifyType}`;
  }
}

const ANEW = "or ask the ISP for a new line for `hometun init`";
const CERTIFICATE = "compare server-identity and ca-file with the ISP's";

const DISTRUST: Readonly<Record<Distrust, string>> = {
  "wrong-method": `it proves itself by another kind of key: compare with the ISP whether psk-file, server-public-key or certificates are meant, ${ANEW}`,
  "wrong-shared-key": `its shared key is another: compare psk-file with the ISP's, ${ANEW}`,
  "wrong-signature": `it signs with another key: compare server-public-key with the ISP's, ${ANEW}`,
  "unknown-identity": `it has another name: compare server-identity with the ISP's, ${ANEW}`,
  "no-certificate": "it sends no certificate: ask the ISP how the server proves itself",
  "certificate-not-trusted": `its certificate is of another authority: ${CERTIFICATE}`,
  "certificate-expired":
    "its certificate is not valid now: look at this machine's clock (`date`), or ask the ISP for a renewal",
  "certificate-of-another": `its certificate has another name: ${CERTIFICATE}`,
  "certificate-not-for-this":
    "its certificate is for something else: ask the ISP for one that may authenticate a server",
};
