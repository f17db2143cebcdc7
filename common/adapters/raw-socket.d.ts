/** What hometun uses of the package raw-socket, which ships no types. */
declare module "raw-socket" {
  export interface RawSocket {
    on(event: "message", listener: (octets: Buffer, source: string) => void): this;
    on(event: "error", listener: (error: Error) => void): this;
    on(event: "close", listener: () => void): this;
    send(
      octets: Buffer,
      offset: number,
      length: number,
      address: string,
      sent: (error: Error | null, octets: number) => void,
    ): this;
    setOption(level: number, option: number, value: number): void;
    setOption(level: number, option: number, value: Buffer, length: number): void;
    close(): this;
  }

  /** Throws when the socket is not permitted. */
  export function createSocket(options: {
    protocol: number;
    addressFamily: number;
    bufferSize?: number;
  }): RawSocket;

  export const AddressFamily: { readonly IPv4: number; readonly IPv6: number };
  export const Protocol: { readonly ICMPv6: number };
}
