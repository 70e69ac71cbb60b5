import { Back, Reader } from './codec.ts'
import { readFields, readRowDescription } from './messages.ts'
import { FrameReader } from './frames.ts'

/** Longer values, and names, are cut in a line. */
const SHOWN = 200
/** A recording keeps 64 KiB of an answer; what is longer was never one of ours. */
const CAP = 16 * 1024 * 1024

/**
 * What a client saw, in lines for people: rows, command tags, errors, notices. `bytes` are recorded answers,
 * which may begin or end in the middle of a message.
 */
export function describeAnswer(bytes: Uint8Array): string[] {
  const frames = new FrameReader(() => CAP)
  frames.push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
  const lines: string[] = []
  try {
    for (let found = frames.next(); found !== null; found = frames.next()) {
      if (found !== 'whole') break
      const line = describe(frames.type, frames.source, frames.start, frames.end)
      if (line !== null) lines.push(line)
    }
    if (frames.buffered > 0 || frames.rest().length > 0) lines.push('… (cut)')
  } catch {
    // The beginning of what was recorded is not the beginning of a message.
    lines.push('… (not readable)')
  }
  return lines
}

function describe(type: number, source: Buffer, start: number, end: number): string | null {
  const reader = new Reader(source, start + 5, end)
  switch (type) {
    case Back.rowDescription:
      return readRowDescription(source, start, end)
        .map(({ name }) => show(Buffer.from(name)))
        .join(' | ')
    case Back.dataRow: {
      const values: string[] = []
      for (let left = reader.count(4); left > 0; left--) {
        const length = reader.int32()
        values.push(length === -1 ? 'NULL' : show(reader.bytes(length)))
      }
      return values.join(' | ')
    }
    case Back.copyData:
      return show(reader.bytes(reader.left)).trimEnd()
    case Back.commandComplete:
      return `-- ${show(reader.string())}`
    case Back.errorResponse:
    case Back.noticeResponse: {
      const fields = readFields(source, start, end)
      const field = (code: string): string => show(fields.get(code) ?? Buffer.alloc(0))
      const more = [fields.has('D') ? field('D') : '', fields.has('H') ? field('H') : ''].filter(
        (text) => text !== '',
      )
      return [`${field('S')} ${field('C')}: ${field('M')}`, ...more].join(' · ')
    }
    case Back.portalSuspended:
      return '-- more rows follow'
    case Back.emptyQueryResponse:
      return '-- empty'
    default:
      return null
  }
}

/** A value for a terminal: control characters could make it show what is not there. */
function show(value: Buffer): string {
  const text = value.toString('utf8', 0, Math.min(value.length, SHOWN))
  const cut = value.length > SHOWN ? `… (${value.length} bytes)` : ''
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (character) => (character === '\n' ? '⏎' : '·')) + cut
}
