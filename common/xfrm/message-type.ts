/** Numbers of linux/xfrm.h. */

/** Message types on NETLINK_XFRM. */
export const XfrmMessageType = {
  newState: 0x10,
  deleteState: 0x11,
  getState: 0x12,
  newPolicy: 0x13,
  deletePolicy: 0x14,
  getPolicy: 0x15,
  expire: 0x18,
  updatePolicy: 0x19,
  updateState: 0x1a,
  newAsyncEvent: 0x1e,
  getAsyncEvent: 0x1f,
  migrate: 0x21,
  mapping: 0x26,
} as const;

/**
 * Groups of notifications. Never ACQUIRE (1): the kernel would make half-finished states for whoever listens.
 */
export const XfrmGroup = { expire: 2, asyncEvents: 5, mapping: 8 } as const;

/** Attribute types, XFRMA_*. */
export const XfrmAttribute = {
  authentication: 1,
  encryption: 2,
  encapsulation: 4,
  templates: 5,
  currentLifetime: 9,
  replayThreshold: 11,
  timerThreshold: 12,
  lastUsed: 15,
  migrate: 17,
  aead: 18,
  truncatedAuthentication: 20,
  replayState: 23,
  interfaceId: 31,
  mappingThreshold: 32,
} as const;

/** How a state or a template wraps packets. */
export const XfrmMode = { transport: 0, tunnel: 1 } as const;
