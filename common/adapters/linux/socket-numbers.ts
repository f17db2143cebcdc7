/** Numbers of Linux's socket calls that several sockets need: linux/socket.h, asm-generic/socket.h, linux/in6.h. */

export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_NETLINK = 16;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;
export const SOL_SOCKET = 1;
export const SO_TYPE = 3;
export const SO_SNDBUF = 7;
export const SO_RCVBUF = 8;
export const SO_BINDTODEVICE = 25;
export const SO_ATTACH_FILTER = 26;
export const SO_SNDBUFFORCE = 32;
export const SO_RCVBUFFORCE = 33;
export const SO_MEMINFO = 55;
export const SOL_IPV6 = 41;
export const IPV6_UNICAST_HOPS = 16;
export const IPPROTO_UDP = 17;
export const IPPROTO_ICMPV6 = 58;
export const MSG_DONTWAIT = 0x40;
