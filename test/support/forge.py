"""Makes and sends packets with scapy, an implementation of IPv6, Neighbor Discovery and ESP that is not ours.

Reads requests from standard input, a line of JSON each, and answers each with a line of JSON:

  {"seal": [PACKET...], "keys": FILE, "sequence": N}   -> {"esp": [HEX...]}
      Inner packets to ESP with the keys that a client's file has under [keys.outbound], numbered from N.
      "nextHeader" replaces 41; "wrongKey": true uses keys nobody has.
  {"send": [HEX...], "encapsulation": "udp" or "esp", "to": IPV4}   -> {"sent": N}
      ESP to the server. "pause": seconds between packets.
  {"clear": PACKET, "interface": NAME, "mac": MAC}   -> {"sent": 1}
      An IPv6 packet as it is, on an Ethernet.

A PACKET is {"kind": "advertisement" or "echo", "source": IPV6, "destination": IPV6, ...}: see `inner`.
"""
import hmac
import json
import logging
import socket
import sys
import time
import tomllib

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.layers.inet import IP, UDP  # noqa: E402
from scapy.layers.inet6 import (  # noqa: E402
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    IPv6,
    IPv6ExtHdrDestOpt,
    PadN,
)
from scapy.layers.ipsec import ESP, SecurityAssociation  # noqa: E402
from scapy.layers.l2 import Ether  # noqa: E402
from scapy.packet import Raw  # noqa: E402

ETH_P_IPV6 = 0x86DD
ICV = 16  # octets of HMAC-SHA2-256-128
ANY = "0.0.0.0"


def inner(packet):
    """A described packet. Every field of an advertisement is right unless the description says otherwise."""
    header = IPv6(src=packet["source"], dst=packet["destination"], hlim=packet.get("hopLimit", 255))
    if packet.get("extensionHeader"):
        header = header / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])
    if packet["kind"] == "echo":
        return header / ICMPv6EchoRequest(id=1, seq=1, data=b"forged")
    flags = packet.get("flags", "O")
    message = ICMPv6ND_NA(
        R=int("R" in flags), S=int("S" in flags), O=int("O" in flags), tgt=packet["target"],
        code=packet.get("code", 0),
    )
    if "checksum" in packet:
        message.cksum = packet["checksum"]
    # RFC 2529 section 5: type 2, length 1, two zero octets, the IPv4 address.
    options = b"".join(
        b"\x02\x01\0\0" + socket.inet_aton(address) for address in packet.get("addresses", [])
    )
    return header / message / Raw(options + bytes.fromhex(packet.get("options", "")))


def association(request):
    with open(request["keys"], "rb") as file:
        keys = tomllib.load(file)["keys"]["outbound"]
    key = bytes.fromhex(keys["key"])
    companion = bytes.fromhex(keys.get("salt") or keys["integrity-key"])
    if request.get("wrongKey"):
        key = bytes(octet ^ 0x55 for octet in key)
        companion = bytes(octet ^ 0x55 for octet in companion)
    common = {
        "spi": keys["spi"],
        "esn_en": keys.get("extended-sequence-numbers", True),
        "esn": 0,
    }
    if "salt" in keys:
        return SecurityAssociation(ESP, crypt_algo="AES-GCM", crypt_key=key + companion, **common)
    return SecurityAssociation(
        ESP, crypt_algo="AES-CBC", crypt_key=key,
        auth_algo="SHA2-256-128", auth_key=companion, **common,
    )


def seal(request):
    sa = association(request)
    sealed = []
    for number, packet in enumerate(request["seal"], request["sequence"]):
        # As transport mode sees it: the next header is the outer packet's protocol.
        plain = IP(src=ANY, dst=ANY, proto=request.get("nextHeader", 41)) / Raw(bytes(inner(packet)))
        octets = bytes(sa.encrypt(plain, seq_num=number)[ESP])
        if sa.esn_en and sa.auth_algo.icv_size:
            # RFC 4303 section 2.2.1: the upper half is authenticated too. scapy 2.5 leaves it out here.
            body = octets[:-ICV]
            octets = body + hmac.digest(sa.auth_key, body + b"\0" * 4, "sha256")[:ICV]
        sealed.append(octets.hex())
    return {"esp": sealed}


def send(request):
    out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    to = request["to"]
    for octets in map(bytes.fromhex, request["send"]):
        # The kernel fills the source in. A UDP checksum of zero is what RFC 3948 section 2.1 asks for.
        carrier = IP(src=ANY, dst=to, proto=50)
        if request["encapsulation"] == "udp":
            carrier = IP(src=ANY, dst=to) / UDP(sport=4500, dport=4500, chksum=0)
        out.sendto(bytes(carrier / Raw(octets)), (to, 0))
        time.sleep(request.get("pause", 0))
    return {"sent": len(request["send"])}


def clear(request):
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IPV6))
    out.bind((request["interface"], 0))
    source = out.getsockname()[4].hex(":")
    out.send(bytes(Ether(src=source, dst=request["mac"]) / inner(request["clear"])))
    return {"sent": 1}


def main():
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        for name, carry_out in {"seal": seal, "send": send, "clear": clear}.items():
            if name in request:
                print(json.dumps(carry_out(request)), flush=True)


main()
