const field = (number: number, content: string | Buffer): Buffer => {
  const bytes = Buffer.from(content)
  return Buffer.concat([Buffer.of((number << 3) | 2, bytes.byteLength), bytes])
}

/** DeleteOptions as typed clients send them: `fields` are numbers and texts, 5 is dryRun. */
export function deleteOptions(
  fields: readonly (readonly [number, string])[],
  kind = 'DeleteOptions',
): Buffer {
  return Buffer.concat([
    Buffer.from('k8s\0'),
    field(1, Buffer.concat([field(1, 'v1'), field(2, kind)])),
    field(2, Buffer.concat(fields.map(([number, text]) => field(number, text)))),
  ])
}
