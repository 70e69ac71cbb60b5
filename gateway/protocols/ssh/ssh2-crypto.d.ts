/** What this house uses of ssh2 1.17's packet ciphers, which it does not publish. */
declare module 'ssh2/lib/protocol/crypto.js' {
  export interface PacketCipher {
    outSeqno: number
    _dead: boolean
    _encSSLName: 'aes-128-gcm' | 'aes-256-gcm'
    _encKey: Buffer
    _encIV: Buffer
    _onWrite(bytes: Buffer): void
    allocPacket: (this: PacketCipher, payload: number) => Buffer
    encrypt: (this: PacketCipher, packet: Buffer) => void
  }
  export interface PacketDecipher {
    inSeqno: number
    _decipherSSLName: 'aes-128-gcm' | 'aes-256-gcm'
    _decipherKey: Buffer
    _decipherIV: Buffer
    /** Undefined: go on. False: stop here. A number: the chunk has been read up to there. */
    _onPayload(payload: Buffer): number | false | undefined
    decrypt: (this: PacketDecipher, chunk: Buffer, from: number, to: number) => number | undefined
  }
  interface Crypto {
    readonly CIPHER_INFO: Readonly<Record<string, { readonly sslName: string }>>
    createCipher(config: {
      outbound: {
        onWrite(bytes: Buffer): void
        cipherInfo: object | undefined
        cipherKey: Buffer
        cipherIV: Buffer
        seqno: number
        forceNative: boolean
      }
    }): PacketCipher
    createDecipher(config: {
      inbound: {
        onPayload(payload: Buffer): undefined
        decipherInfo: object | undefined
        decipherKey: Buffer
        decipherIV: Buffer
        seqno: number
        forceNative: boolean
      }
    }): PacketDecipher
  }
  const crypto: Crypto
  export default crypto
}
