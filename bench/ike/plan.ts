/** What whoever plays the homes is told, and answers. */

export interface HomesPlan {
  readonly server: string;
  readonly serverIdentity: string;
  /** Base64, SubjectPublicKeyInfo; absent: both ends prove themselves with `sharedKey`. */
  readonly serverPublicKey?: string;
  readonly sharedKey: string;
  /** A server that knows nothing of RFC 5739 gives single addresses. */
  readonly fallback: boolean;
  readonly homes: readonly PlannedHome[];
}

export interface PlannedHome {
  readonly identity: string;
  /** IPv4, of its own. */
  readonly address: string;
  /** PEM; absent with a shared key. */
  readonly privateKey?: string;
}

/** What it answers when all are up. */
export interface HomesReport {
  /** From the first message to the last tunnel. */
  readonly seconds: number;
  /** When how many tunnels were up: milliseconds; empty where it is not known. */
  readonly quartilesMs: readonly number[];
  readonly tunnels: number;
  /** CPU of this process meanwhile, in seconds. */
  readonly cpuSeconds: number;
}

/** Whoever plays the homes. */
export interface Players {
  /** All connect at once; resolves when all have their keys. Again: all come back as after a power cut. */
  connect(): Promise<HomesReport>;
  stop(): Promise<void>;
}
