/**
 * What the kernel drops of what comes as ESP before it is queued, so that it takes no room from the homes' packets there
 * and no time from us: at UDP port 4500 what says to be IKE and is not, and a part of the IKE that strangers send when
 * there is too much of it; with either encapsulation a part of what bears the SPI of an SA that is being flooded with
 * forgeries, and a part of what bears an SPI that nobody knows, when that is a flood. So are keepalives, and what is too
 * short for an SPI: usually they are let through, to be counted.
 */

import { ExchangeType, HeaderOffset } from "../../ikev2/wire/header.ts";
import { filterProgram, type Instruction } from "./packet-filter.ts";
import type { Slab } from "./slab.ts";

// Instructions of classic BPF, linux/bpf_common.h.
const LOAD_LENGTH = 0x80;
const LOAD_WORD = 0x20;
const LOAD_OCTET = 0x30;
const LOAD_WORD_INDEXED = 0x40;
const LOAD_CONSTANT = 0x00;
const LOAD_MEMORY = 0x60;
const STORE = 0x02;
const AND = 0x54;
const MULTIPLY = 0x24;
const SHIFT_RIGHT = 0x74;
const SHIFT_RIGHT_BY_X = 0x7c;
/** X becomes the accumulator. */
const TO_X = 0x07;
const JUMP = 0x05;
const JUMP_IF_SET = 0x45;
/** Into X: the length of the IPv4 header at an offset. */
const LOAD_HEADER_LENGTH = 0xb1;
const JUMP_IF_EQUAL = 0x15;
const JUMP_IF_GREATER = 0x25;
const RETURN = 0x06;
/** A word made anew at each packet: SKF_AD_OFF + SKF_AD_RANDOM of linux/filter.h. */
const RANDOM = 0xfffff038;
/** In the IPv4 header, which lies before what the filter of a UDP socket counts from: SKF_NET_OFF + 12. */
const SOURCE = 0xfff0000c;
const ALL = 0xffffffff;
const KEEP: Instruction = [RETURN, 0, 0, ALL];
const DROP: Instruction = [RETURN, 0, 0, 0];

// Offsets from the UDP header, where a filter of a UDP socket begins to count.
const PAYLOAD = 8;
const SPI_LENGTH = 4;
const IKE = PAYLOAD + SPI_LENGTH; // behind the non-ESP marker
const RESPONDER_SPI = IKE + HeaderOffset.responderSpi;
const VERSION = IKE + HeaderOffset.version;
const EXCHANGE = IKE + HeaderOffset.exchange;
const LENGTH = IKE + HeaderOffset.length;
const IKE_VERSION_2 = 0x20;
const LARGEST = 65_535;

/** Which parts of IKE shall be let through, each more than 0 and at most 1. */
export interface IkeShares {
  /** IKE_SA_INIT without the responder's SPI: from those who are not known yet. */
  readonly unknown: number;
  /** The rest. */
  readonly rest: number;
}

/** An SPI of which only a part shall be let through. */
export interface GuardedSpi {
  readonly spi: number;
  /** More than 0, at most 1. */
  readonly share: number;
  /** An IPv4 address, as a number, from which all may come; 0: there is none. */
  readonly exempt: number;
}

/** Of so many at most, so that the program stays short. */
export const MOST_GUARDED = 16;

/** What is let through of packets with other SPIs than those that are known, and of what has none. */
export interface StraySpis {
  readonly known: Iterable<number>;
  /** More than 0, at most 1. */
  readonly share: number;
}

/** What is wanted of an ESP socket's filter. */
export interface EspFilterPlan {
  readonly guarded: readonly GuardedSpi[];
  /** Absent: no SPI is looked up. */
  readonly strays: StraySpis | undefined;
}

/** The program of UDP port 4500. IKE too short for what is looked at is dropped by the kernel's own rule. */
export function udpFilter({ unknown, rest }: IkeShares, plan: EspFilterPlan): Slab {
  const esp = judgeSpi(plan);
  const short = plan.strays === undefined ? [KEEP] : judgeShort(plan.strays);
  return filterProgram([
    [LOAD_LENGTH, 0, 0, 0],
    [JUMP_IF_GREATER, short.length, 0, PAYLOAD + SPI_LENGTH - 1],
    ...short,
    [LOAD_WORD, 0, 0, PAYLOAD],
    [JUMP_IF_EQUAL, 0, 1, 0],
    [JUMP, 0, 0, esp.length],
    ...esp,
    [LOAD_OCTET, 0, 0, VERSION],
    [JUMP_IF_EQUAL, 0, 13, IKE_VERSION_2],
    [LOAD_WORD, 0, 0, LENGTH],
    [JUMP_IF_GREATER, 11, 0, LARGEST],
    [LOAD_OCTET, 0, 0, EXCHANGE],
    [JUMP_IF_EQUAL, 0, 6, ExchangeType.ikeSaInit],
    [LOAD_WORD, 0, 0, RESPONDER_SPI],
    [JUMP_IF_EQUAL, 0, 4, 0],
    [LOAD_WORD, 0, 0, RESPONDER_SPI + 4],
    [JUMP_IF_EQUAL, 0, 2, 0],
    [LOAD_WORD, 0, 0, RANDOM],
    [JUMP_IF_GREATER, 3, 2, thresholdOf(unknown)],
    [LOAD_WORD, 0, 0, RANDOM], // the rest
    [JUMP_IF_GREATER, 1, 0, thresholdOf(rest)],
    KEEP,
    DROP,
  ]);
}

/** The program of IPv4 protocol 50, whose socket sees the IPv4 header too. */
export function protocolFilter(plan: EspFilterPlan): Slab {
  return filterProgram([
    [LOAD_HEADER_LENGTH, 0, 0, 0],
    [LOAD_WORD_INDEXED, 0, 0, 0],
    ...judgeSpi(plan),
  ]);
}

/** Keepalives, which mean nothing to us, and what is no packet at all. */
function judgeShort({ share }: StraySpis): Instruction[] {
  return [[LOAD_WORD, 0, 0, RANDOM], [JUMP_IF_GREATER, 0, 1, thresholdOf(share)], DROP, KEEP];
}

/** Decides about the packet whose SPI has been loaded. */
function judgeSpi({ guarded, strays }: EspFilterPlan): Instruction[] {
  return [
    ...guarded.slice(0, MOST_GUARDED).flatMap(guardOf),
    ...(strays === undefined ? [] : lookUp(strays)),
    KEEP,
  ];
}

const FEWEST_WORDS = 8;
const MOST_WORDS = 256;
/** Spreads SPIs over the bits: 2^32 divided by the golden ratio. */
const SPREAD = 0x9e3779b1;

/** How likely a packet with an SPI that nobody knows is let through: by its share, or since its bit is a known one's too. */
export function strayChance({ known, share }: StraySpis): number {
  const { words } = tableOf([...known]);
  let ones = 0;
  for (const word of words) {
    for (let rest = word; rest !== 0; rest = (rest & (rest - 1)) >>> 0) ones += 1;
  }
  const taken = ones / (32 * words.length);
  return taken + (1 - taken) * share;
}

function tableOf(spis: readonly number[]): { readonly words: Uint32Array; readonly shift: number } {
  const wanted = 2 ** Math.ceil(Math.log2(Math.max(1, spis.length)));
  const words = new Uint32Array(Math.min(MOST_WORDS, Math.max(FEWEST_WORDS, wanted)));
  const shift = 32 - 5 - Math.log2(words.length);
  for (const spi of spis) {
    const bit = (Math.imul(spi, SPREAD) >>> 0) >>> shift;
    words[bit >>> 5] = ((words[bit >>> 5] ?? 0) | (1 << (bit & 31))) >>> 0;
  }
  return { words, shift };
}

/**
 * Goes on behind itself for a known SPI and for a share of the others. The known ones are bits of a table, of which there
 * are 32 for each SPI, as far as a program may be long: one in so many unknown ones looks known.
 */
function lookUp({ known, share }: StraySpis): Instruction[] {
  const { words, shift } = tableOf([...known]);
  return [
    [MULTIPLY, 0, 0, SPREAD],
    [SHIFT_RIGHT, 0, 0, shift],
    [STORE, 0, 0, 0],
    [SHIFT_RIGHT, 0, 0, 5],
    ...[...words].flatMap((word, index): Instruction[] => [
      [JUMP_IF_EQUAL, 0, 2, index],
      [LOAD_CONSTANT, 0, 0, word],
      [JUMP, 0, 0, 3 * (words.length - 1 - index)],
    ]),
    [STORE, 0, 0, 1],
    [LOAD_MEMORY, 0, 0, 0],
    [AND, 0, 0, 31],
    [TO_X, 0, 0, 0],
    [LOAD_MEMORY, 0, 0, 1],
    [SHIFT_RIGHT_BY_X, 0, 0, 0],
    [JUMP_IF_SET, 3, 0, 1],
    [LOAD_WORD, 0, 0, RANDOM],
    [JUMP_IF_GREATER, 0, 1, thresholdOf(share)],
    DROP,
  ];
}

/** Decides about one SPI, which has been loaded; goes on behind itself for any other. */
function guardOf({ spi, share, exempt }: GuardedSpi): Instruction[] {
  return [
    [JUMP_IF_EQUAL, 0, 6, spi],
    [LOAD_WORD, 0, 0, SOURCE],
    [JUMP_IF_EQUAL, 2, 0, exempt],
    [LOAD_WORD, 0, 0, RANDOM],
    [JUMP_IF_GREATER, 1, 0, thresholdOf(share)],
    KEEP,
    DROP,
  ];
}

function thresholdOf(share: number): number {
  return Math.min(ALL, Math.floor(share * 2 ** 32));
}
