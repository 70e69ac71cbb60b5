import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { makeAuthority } from '../servers/certificates.ts'
import { fetchExecutable } from '../servers/image.ts'
import { lacks } from '../servers/programs.ts'

// A gateway that lies, or somebody in between, gives jobs another executable. It has a job's trust in nothing but that: the
// plugin knows the digest from elsewhere.

const good = Buffer.from('console.log("good")\n')
const selfContained = `hoop-access-linux-${process.arch === 'arm64' ? 'arm64' : 'x64'}.gz`
const pin = createHash('sha256').update(good).digest('hex')
const pins = `${pin}:hoop-access.cjs ${pin}:${selfContained}`
const mark = 'require("node:fs").writeFileSync(process.env.HOOP_ACCESS_FOLDER + "/../ran", "")\n'

let place: string
let server: Server
let asked: string[]
let answer: Buffer
let gateway: string
beforeEach(async () => {
  place = await mkdtemp(join(tmpdir(), 'hoop-poisoned-'))
  asked = []
  const { certPem, keyPem } = makeAuthority('somebody').issue('gateway', ['localhost'])
  server = createServer({ cert: certPem, key: keyPem }, (request, response) => {
    asked.push(`${request.method} ${request.url} ${JSON.stringify(request.headers)}`)
    response.end(answer)
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  gateway = `https://localhost:${(server.address() as AddressInfo).port}`
})
afterEach(async () => {
  server.closeAllConnections()
  server.close()
  await rm(place, { recursive: true, force: true })
})

const withNode = ['curl', process.execPath]
const cases: readonly (readonly [string, Buffer, readonly string[]])[] = [
  ['another program for Node', Buffer.from(mark), withNode],
  ['the right one with a line behind it', Buffer.concat([good, Buffer.from(mark)]), withNode],
  [
    'another executable with its own Node',
    gzipSync('#!/bin/sh\ntouch "$HOOP_ACCESS_FOLDER/../ran"\n'),
    ['curl'],
  ],
  ['the digest itself', Buffer.from(pin), withNode],
  ['nothing at all', Buffer.alloc(0), withNode],
  ['by wget, another program', Buffer.from(mark), ['wget', process.execPath]],
]

test.skipIf(lacks('curl', 'wget')).for(cases)(
  '%s is never run (needs curl and wget)',
  async ([, content, programs]) => {
    answer = content
    const { code, err, program } = await fetchExecutable({
      place,
      gateway,
      pins,
      programs,
      ca: `sha256:${'A'.repeat(43)}=`,
    })
    expect(code).toBe(1)
    expect(err).toContain('it was not run')
    expect(existsSync(program)).toBe(false)
    expect(existsSync(join(place, 'bin/hoop-access.cjs'))).toBe(false)
    expect(existsSync(join(place, 'ran'))).toBe(false)
    // It learns that somebody asks for a public file, and nothing else.
    expect(asked).toHaveLength(1)
    expect(asked.join()).not.toMatch(/authorization|cookie|token/i)
  },
)

test.skipIf(lacks('curl'))('with the system’s CAs, whoever is in between is not even asked', async () => {
  answer = good
  const { code, err } = await fetchExecutable({ place, gateway, pins, programs: withNode, ca: '' })
  expect(code).toBe(1)
  expect(err).toContain('cannot be fetched')
  expect(asked).toEqual([])
})

test.skipIf(lacks('curl'))('the pinned file is run, whoever gave it', async () => {
  answer = good
  const pinned = { place, gateway, pins, programs: withNode, ca: `sha256:${'A'.repeat(43)}=` }
  const { code, err, program } = await fetchExecutable(pinned)
  expect(code, err).toBe(0)
  expect(existsSync(program)).toBe(true)
})
