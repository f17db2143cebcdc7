import fc from "fast-check";
import { expect, it, test } from "vitest";
import {
  type ControlReply,
  type ControlRequest,
  decodeReply,
  decodeRequest,
  done,
  encodeControl,
  refused,
} from "../../../common/control/protocol.ts";
import { trafficOf } from "../../../common/control/traffic.ts";
import { MalformedError } from "../../../common/errors.ts";
import { at } from "../../support/timeline.ts";

const requests: { line: string; request: ControlRequest }[] = [
  { line: '{"command":"status"}', request: { command: "status" } },
  { line: '{"command":"status","home":"alice"}', request: { command: "status", home: "alice" } },
  {
    line: '{"command":"status","homes":{"sort":"move","state":"held","limit":50}}',
    request: { command: "status", homes: { sort: "move", state: "held", limit: 50 } },
  },
  { line: '{"command":"status","homes":{}}', request: { command: "status", homes: {} } },
  { line: '{"command":"announce"}', request: { command: "announce" } },
];

test.each(requests)("a request is one line: $line", ({ line, request }) => {
  expect(decodeRequest(line)).toEqual(request);
  expect(encodeControl(request)).toBe(`${line}\n`);
});

const replies: { line: string; reply: ControlReply }[] = [
  { line: '{"kind":"done","value":{"pid":1}}', reply: done({ pid: 1 }) },
  {
    line: '{"kind":"refused","code":"unknown-home","reason":"no home bob"}',
    reply: refused("unknown-home", "no home bob"),
  },
];

test.each(replies)("a reply is one line: $line", ({ line, reply }) => {
  expect(decodeReply(line)).toEqual(reply);
  expect(encodeControl(reply)).toBe(`${line}\n`);
});

test.each([
  { decode: decodeRequest, line: "", code: "not-json" },
  { decode: decodeRequest, line: "status", code: "not-json" },
  { decode: decodeRequest, line: "null", code: "not-json" },
  { decode: decodeRequest, line: "{}", code: "unknown-command" },
  { decode: decodeRequest, line: '{"command":"stop"}', code: "unknown-command" },
  { decode: decodeRequest, line: '{"command":"status","home":1}', code: "bad-home" },
  { decode: decodeRequest, line: '{"command":"status","homes":"all"}', code: "bad-query" },
  { decode: decodeRequest, line: '{"command":"status","homes":null}', code: "bad-query" },
  { decode: decodeRequest, line: '{"command":"status","homes":{"sort":"x"}}', code: "bad-query" },
  { decode: decodeRequest, line: '{"command":"status","homes":{"state":1}}', code: "bad-query" },
  { decode: decodeRequest, line: '{"command":"status","homes":{"limit":-1}}', code: "bad-query" },
  { decode: decodeRequest, line: '{"command":"status","homes":{"limit":0.5}}', code: "bad-query" },
  { decode: decodeReply, line: "[]", code: "bad-reply" },
  { decode: decodeReply, line: '{"kind":"refused"}', code: "bad-reply" },
])("$decode.name refuses $line as $code", ({ decode, line, code }) => {
  expect(() => decode(line)).toThrow(expect.objectContaining({ layer: "control", code }));
});

it("gives a message or MalformedError for any text", () => {
  const text = fc.oneof(fc.string(), fc.json());
  fc.assert(
    fc.property(text, (line) => {
      for (const decode of [decodeRequest, decodeReply]) {
        try {
          decode(line);
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError);
        }
      }
    }),
  );
});

it("tells instants of the monotonic clock by the wall's", () => {
  const counters = {
    sentPackets: 1,
    sentOctets: 2,
    receivedPackets: 3,
    receivedOctets: 4,
    refused: {},
    sentAt: undefined,
    heardAt: at(500.4),
    observedSource: undefined,
  };
  expect(trafficOf(counters, 1_000_000)).toEqual({ ...counters, heardAt: 1_000_500 });
});
