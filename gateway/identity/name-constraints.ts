// NameConstraints (RFC 5280 §4.2.1.10), whose tags are implicit:
//   30 { a0 { 30 { 86 HOST } }                            permittedSubtrees: URIs of this host
//        a1 { 30 { 82 "" } 30 { 87 0/0 } 30 { 87 ::/0 } } excludedSubtrees: every DNS name, every address

/** DER of a constraint to URIs of one host, which is a SPIFFE trust domain, and to no DNS names or addresses. */
export function subtreesOf(trustDomain: string): Buffer {
  const base = (tag: number, value: Uint8Array): Buffer => der(0x30, der(tag, value))
  return der(
    0x30,
    Buffer.concat([
      der(0xa0, base(0x86, Buffer.from(trustDomain, 'ascii'))),
      der(
        0xa1,
        Buffer.concat([
          base(0x82, Buffer.alloc(0)),
          base(0x87, Buffer.alloc(8)),
          base(0x87, Buffer.alloc(32)),
        ]),
      ),
    ]),
  )
}

function der(tag: number, value: Uint8Array): Buffer {
  const length = value.byteLength
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), value])
  if (length < 0x100) return Buffer.concat([Buffer.from([tag, 0x81, length]), value])
  return Buffer.concat([Buffer.from([tag, 0x82, length >> 8, length & 0xff]), value])
}
