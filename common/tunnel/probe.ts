/** How a server asks a home whether it lives where it says: ICMPv6 Echo, RFC 4443 section 4. */

/** The identifier of our Echo Requests, "ht": people recognise them in a capture, filters among other pings. */
export const PROBE_IDENTIFIER = 0x6874;
/** Where the identifier stands in an ICMPv6 echo message. */
export const IDENTIFIER_OFFSET = 4; // octets
