import { describe, expect, test } from 'vitest'
import { GitWatch } from '../../../gateway/protocols/ssh/git-watch.ts'

const [old, next] = ['1'.repeat(40), '2'.repeat(40)]
const line = (text: string): string => (Buffer.byteLength(text) + 4).toString(16).padStart(4, '0') + text
const push = Buffer.from(
  `${line(`shallow ${old}`)}${line(`${old} ${next} refs/heads/a\0report-status side-band-64k push-options`)}${line(`${old} ${next} refs/heads/b`)}0000${line('an option')}0000PACK${'x'.repeat(300)}0000`,
)
const inner = `${line('unpack ok\n')}${line('ok refs/heads/a\n')}${line('ng refs/heads/b no such luck\n')}0000`
const answer = Buffer.from(
  `${line(`${old} refs/heads/a\0report-status`)}0000${line(`\u0002working`)}${line(`\u0001${inner.slice(0, 30)}`)}${line(`\u0001${inner.slice(30)}`)}0000`,
)

/** What is noted of both halves in pieces of a size. */
function watched(pushes: boolean, client: Buffer, host: Buffer, size: number): unknown[] {
  const noted: Record<string, unknown>[] = []
  const watch = new GitWatch(pushes, (event) => void noted.push({ ...event }))
  for (let at = 0; at < client.length; at += size) watch.client(client.subarray(at, at + size))
  for (let at = 0; at < host.length; at += size) watch.host(host.subarray(at, at + size))
  watch.end()
  return noted.flatMap((event) =>
    [event.updates, event.refs, event.objects]
      .flatMap((list) => (Array.isArray(list) ? list : []))
      .concat(event.what === 'pack' ? [`${String(event.way)} ${String(event.bytes)}`] : []),
  )
}

describe('git as it passes', () => {
  test.each([1, 2, 3, 7, 64, 5000])('a push is understood in pieces of %i bytes', (size) => {
    expect(watched(true, push, answer, size)).toEqual([
      { ref: 'refs/heads/a', old, new: next },
      { ref: 'refs/heads/b', old, new: next },
      { ref: 'refs/heads/a', outcome: 'ok' },
      { ref: 'refs/heads/b', outcome: 'no such luck' },
      // What looks like a line within a pack is the pack's.
      'sent 308',
    ])
  })

  test.each([1, 5, 64, 5000])('a fetch is understood in pieces of %i bytes', (size) => {
    const asks = Buffer.from(
      `${line(`want ${next} side-band-64k`)}${line('want-ref refs/tags/v1')}0000${line('done')}`,
    )
    const gives = Buffer.from(
      `${line('NAK\n')}${line(`\u0002Counting`)}${line('\u0001PACKabc')}${line('\u0001def')}0000`,
    )
    expect(watched(false, asks, gives, size)).toEqual([next, 'refs/tags/v1', 'received 10'])
  })

  test('what git would not understand is refused', () => {
    for (const bytes of ['zzzz', '0003', '-001', '0x10', 'PAC ']) {
      const watch = new GitWatch(true, () => undefined)
      expect(() => watch.client(Buffer.from(bytes)), bytes).toThrow(/how git speaks/)
    }
  })

  test('a host that says something else is not listened to any longer', () => {
    expect(
      watched(false, Buffer.from('0000'), Buffer.from('Welcome to the machine\n'.repeat(9999)), 1000),
    ).toEqual([])
  })
})
