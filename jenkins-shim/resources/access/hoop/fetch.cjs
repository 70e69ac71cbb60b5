'use strict'
// What fetch.sh does, by the agent's own Node, where there is no POSIX shell: makes a folder in HOOP_ACCESS_PARENT with a
// `hoop-access` in its `bin`, if the file's SHA-256 is among HOOP_ACCESS_PINS, and prints where that folder is.
const { createHash } = require('node:crypto')
const { mkdirSync, mkdtempSync, readFileSync, writeFileSync } = require('node:fs')
const { tmpdir } = require('node:os')
const path = require('node:path')

const { HOOP_GATEWAY = '', HOOP_CA = '', HOOP_ACCESS_PINS = '', HOOP_ACCESS_PARENT = '' } = process.env
const name = 'hoop-access.cjs'
const MOST_BYTES = 16 * 1024 * 1024
const TRIES = 4
/** What may pass by itself. */
const passing = /^(ECONN|ENET|EHOST|ETIMEDOUT|EPIPE|EAI_AGAIN|ABORT_ERR|status (429|5))/

function fail(why, next) {
  console.error(`hoop-access: ${why}\n  next: ${next}`)
  process.exit(1)
}

/** The file is public, and its digest alone decides; a pin of the CA's key the executable looks for before it sends anything. */
function fetchOnce(url) {
  const { get } = require(url.protocol === 'http:' ? 'node:http' : 'node:https')
  const trust =
    HOOP_CA === ''
      ? {}
      : HOOP_CA.startsWith('sha256:')
        ? { rejectUnauthorized: false }
        : { ca: readFileSync(HOOP_CA) }
  return new Promise((resolve, reject) => {
    const request = get(url, { ...trust, signal: AbortSignal.timeout(60_000) }, (response) => {
      const chunks = []
      let size = 0
      response.on('data', (chunk) => {
        size += chunk.length
        if (size > MOST_BYTES) request.destroy(new Error('it is too large'))
        else chunks.push(chunk)
      })
      response.on('error', reject)
      response.on('end', () => {
        if (response.statusCode === 200) resolve(Buffer.concat(chunks))
        else reject(new Error(`status ${response.statusCode}`))
      })
    })
    request.on('error', reject)
  })
}

async function main() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major < 22 || (major === 22 && minor < 15)) {
    fail(`Node ${process.versions.node} is too old`, 'install Node 22.15 or newer, or name an `executable`')
  }
  const [pin] = HOOP_ACCESS_PINS.split(' ')
    .flatMap((one) => (one.endsWith(`:${name}`) ? [one.slice(0, 64)] : []))
    .reverse()
  if (pin === undefined) {
    fail(
      `this copy of the plugin pins no digest of ${name}`,
      'publish the plugin as `npm run build` writes it to dist/plugins',
    )
  }
  const url = new URL(`/client/${pin}/${name}`, HOOP_GATEWAY)
  let content
  for (let tried = 1; content === undefined; tried++) {
    try {
      content = await fetchOnce(url)
    } catch (error) {
      const why = error.code ?? error.message
      if (tried === TRIES || !passing.test(why)) {
        fail(
          `${url} cannot be fetched (${why})`,
          'check `gateway` and the network; a gateway has the files of versions that it ran',
        )
      }
      await new Promise((resolve) => setTimeout(resolve, 500 * 2 ** tried))
    }
  }
  if (createHash('sha256').update(content).digest('hex') !== pin) {
    fail(
      `what ${HOOP_GATEWAY} gave for ${name} is not the file that this version of the plugin pins: it was not run`,
      'find out who changed it; the digests of a gateway are at /client/',
    )
  }
  const parent = HOOP_ACCESS_PARENT || tmpdir()
  mkdirSync(parent, { recursive: true })
  const folder = mkdtempSync(path.join(parent, 'hoop-access-'))
  const bin = path.join(folder, 'bin')
  mkdirSync(bin, { mode: 0o700 })
  writeFileSync(path.join(bin, name), content, { mode: 0o600 })
  // cmd.exe takes a percent sign for a variable's.
  writeFileSync(
    path.join(bin, 'hoop-access.cmd'),
    `@"${process.execPath.replaceAll('%', '%%')}" "%~dp0${name}" %*\r\n`,
  )
  console.log(folder)
}

main().catch((error) => fail(String(error), 'report this'))
