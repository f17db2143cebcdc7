#!/usr/bin/python3
"""Makes offload.json: packets built by scapy, an implementation that knows nothing of ours.

    /usr/bin/python3 test/vectors/offload.py > test/vectors/offload.json
    npx biome format --write test/vectors/offload.json

segmentation: `header` is the virtio header's fields, `packet` the super-packet with the pseudo-header's sum in its
    checksum field, as the kernel hands it over; `segments` what must be sent.
coalescing: `packets` as they come out of the tunnel, `given` what must be written: packets as they came, or
    super-packets as in segmentation.
clamping: a handshake before and after its MSS option is lowered to what fits `mtu`.
completion: a packet whose checksum is still to be completed, and the same complete.
"""

import json
import struct

from scapy.all import IPv6, TCP, UDP, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, PadN, Raw, ICMPv6EchoRequest

HOME = "2001:db8:1::7"
HOST = "2001:db8:ffff::9"
STAMP = ("Timestamp", (0x01020304, 0x0A0B0C0D))
NOP = ("NOP", None)


def octets(n, seed=1):
    state, out = seed, bytearray()
    for _ in range(n):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        out.append(state >> 16 & 255)
    return bytes(out)


def built(packet):
    """All lengths and checksums made by scapy."""
    return bytes(packet)


def pseudo_header_sum(source, destination, length, protocol):
    """RFC 8200 section 8.1, not complemented."""
    data = source + destination + struct.pack("!II", length, protocol)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def partial(raw, start, field, protocol):
    """The packet as a stack leaves it that relies on checksum offload."""
    total = pseudo_header_sum(raw[8:24], raw[24:40], len(raw) - start, protocol)
    at = start + field
    return raw[:at] + struct.pack("!H", total) + raw[at + 2 :]


def ip(**fields):
    return IPv6(src=HOME, dst=HOST, hlim=61, tc=0x2A, fl=0xABCDE, **fields)


def tcp(flags="A", seq=0x10000000, **fields):
    return TCP(sport=40000, dport=443, flags=flags, seq=seq, ack=0x55667788, window=502, **fields)


def super_tcp(payload, size, flags="A", seq=0x10000000, options=(), extension=None, ecn=False, hint=None):
    lower = ip() if extension is None else ip() / extension
    start = len(built(lower))
    head = tcp(flags, seq, options=list(options))
    raw = built(lower / head / Raw(payload))
    headers = len(raw) - len(payload)
    header = dict(flags=1, gsoType=4 | (0x80 if ecn else 0), headerLength=hint or headers, gsoSize=size,
                  checksumStart=start, checksumOffset=16)
    segments = []
    for at in range(0, len(payload), size):
        piece, last = payload[at : at + size], at + size >= len(payload)
        own = "".join(f for f in flags if (last or f not in "FP") and (at == 0 or f != "C"))
        one = tcp(own, (seq + at) & 0xFFFFFFFF, options=list(options))
        segments.append(built(lower / one / Raw(piece)).hex())
    return dict(header=header, packet=partial(raw, start, 16, 6).hex(), segments=segments)


def super_udp(payload, size):
    head = UDP(sport=5004, dport=4433)
    raw = built(ip() / head / Raw(payload))
    header = dict(flags=1, gsoType=5, headerLength=48, gsoSize=size, checksumStart=40, checksumOffset=6)
    segments = [built(ip() / head / Raw(payload[at : at + size])).hex() for at in range(0, len(payload), size)]
    return dict(header=header, packet=partial(raw, 40, 6, 17).hex(), segments=segments)


def zero_checksum_udp(size):
    """Two datagrams, the first of which sums to zero, which goes out as all ones."""
    base = octets(2 * size, 9)
    bare = built(ip() / UDP(sport=5004, dport=4433) / Raw(b"\0\0" + base[2:size]))
    field = struct.unpack("!H", bare[46:48])[0]
    return super_udp(struct.pack("!H", field) + base[2:], size)


def named(name, case):
    return dict(name=name, **case)


destination_options = IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 12)])
hop_by_hop = IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)])

segmentation = [
    named("one full segment and a short one", super_tcp(octets(150), 100)),
    named("a payload that the size divides", super_tcp(octets(300), 100)),
    named("a single segment", super_tcp(octets(60), 100)),
    named("segments of the usual size with time stamps", super_tcp(octets(4000), 1366, options=[NOP, NOP, STAMP])),
    named("an odd size, so that payloads start at every place", super_tcp(octets(1001), 333)),
    named("odd last octet of an even size", super_tcp(octets(205), 102)),
    named("FIN and PSH on the last only", super_tcp(octets(250), 100, flags="FPA")),
    named("CWR on the first only", super_tcp(octets(250), 100, flags="CPA", ecn=True)),
    named("ECE on all", super_tcp(octets(250), 100, flags="EA")),
    named("a sequence number that wraps", super_tcp(octets(250), 100, seq=0xFFFFFFC0)),
    named("the longest TCP header", super_tcp(octets(250), 100, options=[STAMP, STAMP, STAMP, STAMP])),
    named("behind destination options", super_tcp(octets(250), 100, extension=destination_options)),
    named("behind two extension headers",
          super_tcp(octets(250), 100, extension=hop_by_hop / destination_options)),
    named("a header length that spans the first segment", super_tcp(octets(250), 100, hint=160)),
    named("UDP datagrams", super_udp(octets(700), 300)),
    named("UDP datagrams of odd length", super_udp(octets(700), 301)),
    named("a UDP checksum of zero as all ones", zero_checksum_udp(64)),
]


def segment(payload, seq, flags="A", options=(), **network):
    lower = IPv6(**{**dict(src=HOST, dst=HOME, hlim=57, tc=0, fl=0x12345), **network})
    return built(lower / TCP(sport=443, dport=40000, flags=flags, seq=seq, ack=77, window=1000,
                             options=list(options)) / Raw(payload))


def joined(segments, size):
    """The super-packet that these segments are pieces of."""
    first = segments[0]
    head = 40 + (first[52] >> 4) * 4
    payload = b"".join(one[head:] for one in segments)
    raw = bytearray(first[:head] + payload)
    raw[4:6] = struct.pack("!H", len(raw) - 40)
    raw[53] |= segments[-1][53] & 8
    header = dict(flags=1, gsoType=4, headerLength=head, gsoSize=size, checksumStart=40, checksumOffset=16)
    return dict(header=header, packet=partial(bytes(raw), 40, 16, 6).hex())


def alone(raw):
    return dict(packet=raw.hex())


def run(n, size, seq=1000, last=None, options=(), flags="A", **network):
    out = []
    for i in range(n):
        length = last if last is not None and i == n - 1 else size
        out.append(segment(octets(length, i + 1), seq + i * size, flags if i == n - 1 else "A", options, **network))
    return out


def coalescing_case(name, packets, given):
    return dict(name=name, packets=[p.hex() for p in packets], given=given)


def damaged(raw):
    return raw[:-1] + bytes([raw[-1] ^ 1])


three, stamped, short = run(3, 100), run(3, 1366, options=[NOP, NOP, STAMP]), run(3, 101, last=33)
pushed = run(3, 100, flags="PA")
ack = segment(b"", 1300)
later_ack = segment(octets(100, 4), 1300)
echo = built(IPv6(src=HOST, dst=HOME) / ICMPv6EchoRequest(data=b"x"))
coalescing = [
    coalescing_case("segments in sequence", three, [joined(three, 100)]),
    coalescing_case("segments with time stamps", stamped, [joined(stamped, 1366)]),
    coalescing_case("a shorter last one, which ends the super-packet", short + [segment(b"abc", 1235)],
                    [joined(short, 101), alone(segment(b"abc", 1235))]),
    coalescing_case("PSH, which ends the super-packet and is carried in its head", pushed + [later_ack],
                    [joined(pushed, 100), alone(later_ack)]),
    coalescing_case("a sequence number that wraps",
                    [segment(octets(100), 0xFFFFFF9C), segment(octets(100), 0)],
                    [joined([segment(octets(100), 0xFFFFFF9C), segment(octets(100), 0)], 100)]),
    coalescing_case("one segment alone", [three[0]], [alone(three[0])]),
    coalescing_case("a gap", [three[0], three[2]], [alone(three[0]), alone(three[2])]),
    coalescing_case("the wrong order", [three[1], three[0]], [alone(three[1]), alone(three[0])]),
    coalescing_case("a repeated segment", [three[0], three[0]], [alone(three[0]), alone(three[0])]),
    coalescing_case("a larger successor", [segment(octets(99), 1000), segment(octets(100), 1099)],
                    [alone(segment(octets(99), 1000)), alone(segment(octets(100), 1099))]),
    coalescing_case("a pure ACK keeps its place", [three[0], three[1], ack, later_ack],
                    [joined(three[:2], 100), alone(ack), alone(later_ack)]),
    coalescing_case("a damaged segment passes as it is",
                    [three[0], damaged(three[1]), three[2]],
                    [alone(three[0]), alone(damaged(three[1])), alone(three[2])]),
    coalescing_case("a damaged first segment", [damaged(three[0]), three[1], three[2]],
                    [alone(damaged(three[0])), joined(three[1:], 100)]),
] + [
    coalescing_case("another " + name, [three[0], other], [alone(three[0]), alone(other)])
    for name, other in [
        ("hop limit", segment(octets(100, 2), 1100, hlim=56)),
        ("traffic class, such as a congestion mark", segment(octets(100, 2), 1100, tc=3)),
        ("flow label", segment(octets(100, 2), 1100, fl=0x12346)),
        ("option", segment(octets(100, 2), 1100, options=[NOP, NOP, STAMP])),
        ("flag: FIN", segment(octets(100, 2), 1100, flags="FA")),
        ("flag: URG", segment(octets(100, 2), 1100, flags="UA")),
        ("flag: CWR", segment(octets(100, 2), 1100, flags="CA")),
        ("flag: ECE", segment(octets(100, 2), 1100, flags="EA")),
        ("flag: AE, a reserved bit once", segment(octets(100, 2), 1100, flags="NA")),
        ("flag: RST", segment(octets(100, 2), 1100, flags="RA")),
    ]
] + [
    coalescing_case("another time stamp",
                    [segment(octets(100), 1000, options=[NOP, NOP, STAMP]),
                     segment(octets(100), 1100, options=[NOP, NOP, ("Timestamp", (9, 9))])],
                    [alone(segment(octets(100), 1000, options=[NOP, NOP, STAMP])),
                     alone(segment(octets(100), 1100, options=[NOP, NOP, ("Timestamp", (9, 9))]))]),
    coalescing_case("another protocol between them does not part them", [three[0], echo, three[1], three[2]],
                    [alone(echo), joined(three, 100)]),
]


def clamping_case(name, options, mtu, after=None, flags="S", network=None):
    lower = network or ip()
    make = lambda chosen: built(lower / tcp(flags, options=list(chosen)))
    return dict(name=name, mtu=mtu, before=make(options).hex(), after=make(after or options).hex())


def mss(value):
    return ("MSS", value)


WHOLE = [mss(1440), ("SAckOK", b""), STAMP, NOP, ("WScale", 7)]
clamping = [
    clamping_case("a SYN", [mss(1440)], 1400, [mss(1340)]),
    clamping_case("a SYN and ACK", [mss(8940)], 1280, [mss(1220)], flags="SA"),
    clamping_case("a SYN with the usual options", WHOLE, 1438, [mss(1378)] + WHOLE[1:]),
    clamping_case("an option at an odd place", [NOP, mss(1440), NOP, NOP, NOP], 1281,
                  [NOP, mss(1221), NOP, NOP, NOP]),
    clamping_case("an option behind others", [("SAckOK", b""), ("WScale", 7), mss(65535)], 1400,
                  [("SAckOK", b""), ("WScale", 7), mss(1340)]),
    clamping_case("a SYN with ECN", [mss(1440)], 1400, [mss(1340)], flags="SEC"),
    clamping_case("a value that fits exactly", [mss(1340)], 1400),
    clamping_case("a smaller value", [mss(536)], 1400),
    clamping_case("no option", [], 1400),
    clamping_case("an option behind the end of options", [("EOL", None), mss(1440)], 1400),
    clamping_case("an ACK with the option", [mss(1440)], 1400, flags="A"),
    clamping_case("a SYN behind an extension header", [mss(1440)], 1400, network=ip() / destination_options),
]


def completion_case(name, packet, start, field, protocol):
    raw = built(packet)
    return dict(name=name, start=start, checksumOffset=field, partial=partial(raw, start, field, protocol).hex(),
                complete=raw.hex())


completion = [
    completion_case("TCP", ip() / tcp("PA") / Raw(octets(121)), 40, 16, 6),
    completion_case("UDP", ip() / UDP(sport=1, dport=2) / Raw(octets(50)), 40, 6, 17),
    completion_case("UDP behind destination options",
                    ip() / destination_options / UDP(sport=1, dport=2) / Raw(octets(3)), 56, 6, 17),
]

print(json.dumps(dict(segmentation=segmentation, coalescing=coalescing, clamping=clamping, completion=completion),
                 indent=2))
