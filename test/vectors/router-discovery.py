#!/usr/bin/python3
"""Makes router-discovery.json: Router Discovery messages built by scapy, which knows nothing of ours.

    /usr/bin/python3 test/vectors/router-discovery.py > test/vectors/router-discovery.json
    npx biome format --write test/vectors/router-discovery.json

Each has its whole ICMPv6 message, checksum included, from `source` to `destination`.
"""

import json

from scapy.all import (
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptMTU,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptRDNSS,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)

ROUTER = "fe80::1"
HOST = "fe80::aa:bbff:fecc:ddee"
MAC = "02:00:5e:00:53:01"


def prefix(address="2001:db8:a:1::", length=64, valid=5400, preferred=2700, **flags):
    return ICMPv6NDOptPrefixInfo(
        prefix=address, prefixlen=length, validlifetime=valid, preferredlifetime=preferred, **flags
    )


def message(name, source, destination, layers):
    whole = bytes(IPv6(src=source, dst=destination, hlim=255) / layers)
    return {
        "name": name,
        "source": source,
        "destination": destination,
        "icmp": whole[40:].hex(),
    }


def advertisement(**fields):
    return ICMPv6ND_RA(**{"chlim": 64, "M": 0, "O": 0, "prf": 0, "routerlifetime": 1800, **fields})


ALL_NODES = "ff02::1"
ALL_ROUTERS = "ff02::2"

print(
    json.dumps(
        {
            "advertisements": [
                message("bare", ROUTER, ALL_NODES, advertisement()),
                message(
                    "whole",
                    ROUTER,
                    ALL_NODES,
                    advertisement()
                    / ICMPv6NDOptSrcLLAddr(lladdr=MAC)
                    / ICMPv6NDOptMTU(mtu=1400)
                    / prefix(L=1, A=1)
                    / ICMPv6NDOptRDNSS(lifetime=1800, dns=["2001:db8::53", "2001:db8::54"]),
                ),
                message(
                    "withdrawal",
                    ROUTER,
                    ALL_NODES,
                    advertisement(routerlifetime=0) / prefix(L=1, A=1, valid=0, preferred=0),
                ),
                message(
                    "flags and timers",
                    ROUTER,
                    HOST,
                    advertisement(M=1, O=1, reachabletime=30000, retranstimer=1000)
                    / prefix("2001:db8::", 32, 0xFFFFFFFF, 0xFFFFFFFF, L=0, A=0),
                ),
            ],
            "solicitations": [
                message("bare", "::", ALL_ROUTERS, ICMPv6ND_RS()),
                message(
                    "with a link-layer address",
                    HOST,
                    ALL_ROUTERS,
                    ICMPv6ND_RS() / ICMPv6NDOptSrcLLAddr(lladdr=MAC),
                ),
            ],
        }
    )
)
