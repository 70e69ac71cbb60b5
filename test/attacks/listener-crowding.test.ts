import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { networkOf } from '../../gateway/listener/admission.ts'
import { dial, dialTls, makeStand, pause, readAll, readUntil } from '../listener/house.ts'

describe('clients that never say who they are cannot crowd out those who do', () => {
  it('a client that sends nothing, or a byte now and then, is closed at the one deadline', async () => {
    const stand = await makeStand({ deadlines: { firstBytes: 400 } })
    const silent = await dial(stand.port)
    const said = readAll(silent)
    const dripping = await dial(stand.port)
    const dripped = readAll(dripping)
    const drip = setInterval(() => dripping.write(Buffer.of(0)), 150)
    expect(await said).toContain('nothing was sent in time')
    // Each byte would have won it another deadline, for ever.
    await dripped
    clearInterval(drip)
    expect(stand.taken).toHaveLength(0)
    await stand.listener.close(0)
  })

  it('a TLS handshake that never ends is closed at its deadline', async () => {
    const stand = await makeStand({ deadlines: { handshake: 400 } })
    const socket = await dial(stand.port)
    const over = readAll(socket)
    socket.write(Buffer.from('160301020001000', 'hex'))
    await over
    await pause(50)
    expect(stand.listener.counts.connections).toBe(0)
    await stand.listener.close(0)
  })

  it('one address has only so many places in greeting; a proof of identity frees one', async () => {
    const stand = await makeStand({ limits: { greetingPerAddress: 5 } })
    const held = await Promise.all(Array.from({ length: 5 }, () => dial(stand.port)))
    await pause(50)
    const sixth = await dial(stand.port)
    await readAll(sixth)
    held[0]?.destroy()
    await pause(50)
    // With a certificate each gives its place back at once.
    for (let n = 0; n < 10; n++) {
      const socket = await dialTls(stand, stand.client)
      socket.write('x')
      expect(await readUntil(socket, ';')).toBe('http:78;')
    }
    expect(stand.listener.counts).toMatchObject({ connections: 14, greeting: 4 })
    for (const socket of held) socket.destroy()
    await stand.listener.close(0)
    expect(stand.listener.counts).toMatchObject({ connections: 0, greeting: 0 })
  })

  it('settled() frees the place of a client that proved itself inside its protocol', async () => {
    const stand = await makeStand({ limits: { greetingPerAddress: 1 } })
    const first = await dialTls(stand)
    first.write('x')
    await readUntil(first, ';')
    await readAll(await dial(stand.port))
    const inside = stand.taken[0]?.socket
    if (inside !== undefined) stand.listener.settled(inside)
    const second = await dialTls(stand)
    second.destroy()
    first.destroy()
    await stand.listener.close(0)
  })

  it('all of an IPv6 network counts as one address', () => {
    expect(networkOf('2001:db8:1:2:aaaa::1')).toBe(networkOf('2001:0db8:1:2:bbbb:1:2:3'))
    expect(networkOf('2001:db8:1:2::1')).not.toBe(networkOf('2001:db8:1:3::1'))
    expect(networkOf('::1')).toBe('0:0:0:0::/64')
    expect(networkOf('::ffff:10.0.0.1')).toBe('10.0.0.1')
  })

  it('300 clients at once are all served', async () => {
    const stand = await makeStand({ limits: { greetingPerAddress: 1000 } })
    const answers = await Promise.all(
      Array.from({ length: 300 }, async () => {
        const socket = await dialTls(stand)
        socket.write('x')
        const answer = await readUntil(socket, ';')
        socket.destroy()
        return answer
      }),
    )
    expect(new Set(answers)).toEqual(new Set(['http:78;']))
    await stand.listener.close(0)
  })
})

describe('garbage', () => {
  it('is closed, keeps nothing, and others go on', async () => {
    const stand = await makeStand()
    const garbage = [
      Buffer.from('0000000004d2162f', 'hex'),
      Buffer.from('0000000700030000', 'hex'),
      Buffer.from('0000ffff00030000', 'hex'),
      Buffer.from('ffffffff00030000', 'hex'),
      Buffer.from('0000000800020000', 'hex'),
      Buffer.from('1602', 'hex'),
      Buffer.from('1603010005ffffffffff', 'hex'),
      Buffer.from('160301ffff01', 'hex'),
      Buffer.alloc(100_000, 0x16),
      Buffer.from('HELO mail.example\r\n'),
      ...Array.from({ length: 50 }, (_, n) => Buffer.concat([Buffer.of(0x80 + n), randomBytes(100)])),
    ]
    for (const bytes of garbage) {
      const socket = await dial(stand.port)
      const closed = readAll(socket)
      socket.end(bytes)
      await closed
    }
    await pause(50)
    expect(stand.listener.counts).toMatchObject({ connections: 0, greeting: 0 })
    expect(stand.taken).toHaveLength(0)
    const socket = await dialTls(stand)
    socket.destroy()
    await stand.listener.close(0)
  })

  it('a client that half-closes before it is known, or resets at any time, is forgotten', async () => {
    const stand = await makeStand()
    const half = await dial(stand.port)
    half.end()
    await readAll(half)
    for (let n = 0; n < 20; n++) {
      const socket = await dial(stand.port)
      if (n % 2 === 0) socket.write('\x16\x03\x01')
      socket.resetAndDestroy()
    }
    await pause(100)
    expect(stand.listener.counts).toMatchObject({ connections: 0, greeting: 0 })
    await stand.listener.close(0)
  })
})
