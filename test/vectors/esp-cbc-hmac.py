#!/usr/bin/python3
"""ESP vectors for AES-CBC-256 with HMAC-SHA2-256-128, by scapy and python3-cryptography (Debian packages).

Usage: /usr/bin/python3 esp-cbc-hmac.py esp-cbc-hmac.json

Without extended sequence numbers scapy builds the packet and is checked against the bare primitives. With them only
the primitives do: scapy 2.5 leaves the high half out of ESP's ICV (RFC 4303 section 2.2.1 has it follow the next
header). Keys and IVs are fixed, so the file comes out the same each time.
"""
import hashlib, hmac, json, logging, struct, sys
logging.getLogger("scapy").setLevel(logging.ERROR)
from scapy.all import ICMPv6EchoRequest, IP, IPv6, Raw, UDP, raw
from scapy.layers.ipsec import ESP, SecurityAssociation
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

SERVER, CLIENT = "192.0.2.1", "198.51.100.7"
SPI = 0x2001
KEY = bytes((7 * i + 32) & 255 for i in range(32))
HMAC_KEY = bytes((11 * i + 5) & 255 for i in range(32))


def iv_of(seq, esn):
    return hashlib.sha256(struct.pack("!II", esn or 0, seq)).digest()[:16]


def esp_of(plaintext, seq, esn):
    """ESP by the primitives; the plaintext ends in padding, pad length and next header"""
    iv = iv_of(seq, esn)
    cipher = Cipher(algorithms.AES(KEY), modes.CBC(iv)).encryptor()
    body = struct.pack("!II", SPI, seq) + iv + cipher.update(plaintext) + cipher.finalize()
    high = b"" if esn is None else struct.pack("!I", esn)
    return body + hmac.new(HMAC_KEY, body + high, hashlib.sha256).digest()[:16]


def padded(payload, next_header=41, padding=None):
    if padding is None:
        padding = bytes(range(1, -(len(payload) + 2) % 16 + 1))
    return payload + padding + bytes([len(padding), next_header])


def outer(esp):
    return raw(IP(src=CLIENT, dst=SERVER, ttl=64, id=0, proto=50) / Raw(esp))


def by_scapy(inner, seq):
    association = SecurityAssociation(
        ESP, spi=SPI, crypt_algo="AES-CBC", crypt_key=KEY, auth_algo="SHA2-256-128", auth_key=HMAC_KEY,
        tunnel_header=IP(src=CLIENT, dst=SERVER, ttl=64, id=0))
    packet = association.encrypt(IPv6(inner), seq_num=seq, iv=iv_of(seq, None))
    assert raw(association.decrypt(IP(raw(packet)))) == inner
    return raw(packet)


def udp(count):
    return raw(IPv6(src="2001:db8:1::1", dst="2001:db8:f::1") / UDP(sport=1, dport=9) / Raw(b"x" * count))


def build():
    echo = raw(IPv6(src="2001:db8:1::1", dst="2001:db8:f::1", hlim=64) / ICMPv6EchoRequest(id=7, seq=1, data=b"hometun vector"))
    cases = []

    def case(name, packet, seq, esn=None, reason=None, inner=None):
        cases.append(dict(name=name, valid=reason is None, reason=reason, packet=packet.hex(), seq=seq, esn=esn,
                          inner=None if inner is None else inner.hex()))

    def good(name, inner, seq, esn=None):
        packet = outer(esp_of(padded(inner), seq, esn))
        if esn is None:
            assert by_scapy(inner, seq) == packet, name
        case(name, packet, seq, esn, inner=inner)

    for esn, seq in ((None, 1), (None, 0xffffffff), (0, 1), (1, 0), (7, 0x80000000), (0x1ffffe, 0xfffffffe)):
        good(f"echo-esn-{esn}-seq-{seq}", echo, seq, esn)
    for count in range(17):
        good(f"pad-{count}", udp(count), 10 + count)
    good("mtu-1280", udp(1232), 40)

    sealed = outer(esp_of(padded(echo), 50, None))
    for name, at in (("icv", -1), ("ciphertext", 20 + 24), ("iv", 20 + 8), ("sequence", 20 + 7), ("spi", 20 + 3)):
        damaged = bytearray(sealed)
        damaged[at] ^= 0x40
        case(f"bad-{name}", bytes(damaged), 50, reason="not-authentic")
    for cut in (1, 15, 17, len(sealed) - 20 - 40, len(sealed) - 20 - 8, len(sealed) - 20):
        short = sealed[:-cut]
        case(f"short-{len(short) - 20}", short[:2] + struct.pack("!H", len(short)) + short[4:], 50, reason="malformed")
    case("short-by-a-block", sealed[:2] + struct.pack("!H", len(sealed) - 16) + sealed[4:-16], 50, reason="not-authentic")
    case("wrong-esn", outer(esp_of(padded(echo), 0xfffffff0, 1)), 0xfffffff0, 0, "not-authentic")
    case("no-esn-taken-for-esn", outer(esp_of(padded(echo), 51, None)), 51, 0, "not-authentic")

    case("tfc-padding", outer(esp_of(padded(echo + bytes(37)), 60, None)), 60, inner=echo)
    case("dummy", outer(esp_of(padded(b"\xaa" * 40, 59), 61, None)), 61, reason="dummy")
    case("ipv4-inside", outer(esp_of(padded(raw(IP(src="192.0.2.2", dst="192.0.2.3") / UDP()), 4), 62, None)), 62, reason="unexpected-next-header")
    case("inner-short", outer(esp_of(padded(echo[:39]), 63, None)), 63, reason="inner-malformed")
    case("inner-truncated", outer(esp_of(padded(echo[:-5]), 64, None)), 64, reason="inner-malformed")
    case("inner-version", outer(esp_of(padded(b"\x45" + echo[1:]), 65, None)), 65, reason="inner-malformed")
    case("padding-zeros", outer(esp_of(padded(echo, padding=bytes(-(len(echo) + 2) % 16 or 16)), 66, None)), 66, reason="malformed")
    case("padding-whole-255", outer(esp_of(padded(echo + bytes(-(len(echo) + 2 + 255) % 16), padding=bytes(range(1, 256))), 67, None)), 67, inner=echo)
    case("pad-length-overrun", outer(esp_of(bytes(14) + bytes([15, 41]), 68, None)), 68, reason="malformed")
    case("sequence-0", outer(esp_of(padded(echo), 0, None)), 0, reason="too-old")
    return dict(note="AES-CBC-256, HMAC-SHA2-256-128; see esp-cbc-hmac.py", spi=SPI, key=KEY.hex(),
                hmacKey=HMAC_KEY.hex(), esp=cases)


if __name__ == "__main__":
    with open(sys.argv[1], "w") as file:
        json.dump(build(), file, indent=2)
        file.write("\n")
