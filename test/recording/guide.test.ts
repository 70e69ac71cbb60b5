import { execFileSync } from 'node:child_process'
import { createPublicKey } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { findRecording } from '../../gateway/recording/files.ts'
import { lacks } from '../servers/programs.ts'
import { makeFolder, open, publicJwk, recordSession } from './folder.ts'

const tools = ['openssl', 'xxd', 'sha256sum', 'base64', 'sed']

test.skipIf(lacks(...tools))(
  'the commands of the guide verify a recording (need openssl and xxd)',
  async () => {
    const { dir, remove } = makeFolder()
    try {
      const recordings = await open(dir)
      await recordSession(recordings, 'ses_1')
      await recordings.close('done')
      const path = (await findRecording(dir, 'ses_1')) ?? ''
      const guide = readFileSync(join(import.meta.dirname, '../../docs/guide/recordings.md'), 'utf8')
      const script = /```sh\n(prev=[\s\S]*?)```/.exec(guide)?.[1] ?? ''
      const pem = join(dir, 'KEY.pem')
      writeFileSync(
        pem,
        createPublicKey({ key: publicJwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' }),
      )
      const commands = script
        .replaceAll('SESSION', 'ses_1')
        .replaceAll('FILE', path)
        .replaceAll('KEY.pem', pem)
      const shown = execFileSync('sh', ['-eu', '-c', commands], { cwd: dir, encoding: 'utf8' })
      const seal: { hash: string } = JSON.parse(readFileSync(path, 'utf8').split('\n')[1] ?? '')
      expect(shown).toContain(seal.hash)
      expect(shown).toContain('Signature Verified Successfully')
    } finally {
      remove()
    }
  },
)
