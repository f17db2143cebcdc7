/**
 * Connects homes to a gateway in the same process, until the engine has compiled the initiator: a thousand homes are a
 * thousand machines, and what one process needs to warm up for all of them would else be counted as the server's time.
 */

import { DEFAULT_SETTINGS } from "../../common/ikev2/default-settings.ts";
import { identificationOf } from "../../common/ikev2/identity.ts";
import { IkeInitiator, type InitiatorEffect } from "../../common/ikev2/ike-initiator.ts";
import { IkeResponder, type ResponderEffect } from "../../common/ikev2/ike-responder.ts";
import { LinkTable } from "../../common/ikev2/link-table.ts";
import type { Path } from "../../common/ikev2/nat-detection.ts";
import type {
  HomeOptions,
  MessageInput,
  PeerPolicy,
  SessionPorts,
} from "../../common/ikev2/session-types.ts";
import { parseIpv4, parseIpv6, parseIpv6Prefix } from "../../common/ip/address.ts";
import type { Instant } from "../../common/time.ts";
import { echoOf } from "./echo.ts";

const HOME = { address: parseIpv4("192.0.2.2"), port: 500 };
const GATEWAY = { address: parseIpv4("192.0.2.1"), port: 500 };

const TIMES = 2_000;
const GATEWAY_IDENTITY = identificationOf("gateway.example");
const HOME_IDENTITY = identificationOf("home.example");
const GATEWAY_INTERFACE_ID = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 1);
const HOME_INTERFACE_ID = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 2);

/** @param fallback the server will give single addresses, so the gateway here does */
export function rehearse(fallback: boolean, ports: SessionPorts): void {
  const key = ports.random(32);
  const belief = {
    credential: { kind: "shared-key", key },
    trust: { kind: "shared-key", key },
  } as const;
  const prefix = parseIpv6Prefix("2001:db8::/56");
  const single = { address: parseIpv6("2001:db8::1"), length: 128 };
  const link = { interfaceId: GATEWAY_INTERFACE_ID, prefixes: [prefix], dns: [], dhcp: [] };
  const policy: PeerPolicy = {
    identity: GATEWAY_IDENTITY,
    ...belief,
    link: fallback ? { ...link, fallback: single } : link,
    multicast: false,
  };
  const links = new LinkTable(ports.random);
  const gateway = new IkeResponder({
    directory: {
      authorities: [],
      findPeer: () => policy,
      claimLink: (identity, requested) => links.claim(identity, requested),
    },
    settings: DEFAULT_SETTINGS,
    ports,
  });
  for (let time = 1; time <= TIMES; time++) {
    const options: HomeOptions = {
      identity: HOME_IDENTITY,
      peerIdentity: GATEWAY_IDENTITY,
      ...belief,
      link: { interfaceId: HOME_INTERFACE_ID, fallback },
      initialContact: true,
    };
    const home = new IkeInitiator(options, DEFAULT_SETTINGS, ports);
    // Seconds pass: the gateway hears only so many in a second from one address.
    converse(home, gateway, (1_000 * time) as Instant);
  }
}

function converse(home: IkeInitiator, gateway: IkeResponder, now: Instant): void {
  const start = { kind: "start", path: { local: HOME, remote: GATEWAY } } as const;
  let asked = home.handle(start, now);
  while (asked.length > 0) {
    const answers = messages(asked, { local: GATEWAY, remote: HOME }).flatMap((each) =>
      gateway.handle(each, now),
    );
    const effects = messages(answers, { local: HOME, remote: GATEWAY }).flatMap((each) =>
      home.handle(each, now),
    );
    for (const each of effects) {
      if (each.kind === "session" && each.effect.kind === "child-created")
        echoOf(each.effect.child);
    }
    asked = effects;
  }
}

/** What was sent, as the other end hears it. */
function messages(
  effects: readonly (InitiatorEffect | ResponderEffect)[],
  path: Path,
): MessageInput[] {
  return effects.flatMap((effect) => {
    if (effect.kind !== "send") return [];
    return [{ kind: "message", message: effect.message, path, encapsulated: false, wallTime: 0 }];
  });
}
