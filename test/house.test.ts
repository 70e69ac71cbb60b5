import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'

// The lint has to be seen failing: each file here imports what its folder may not.
const violations = {
  'gateway/core/violation.ts': '../protocols/postgres/index.ts',
  'gateway/policy/violation.ts': '../protocols/postgres/index.ts',
  'gateway/sql/violation.ts': '../api/server.ts',
  'gateway/login/violation.ts': '../api/server.ts',
  'gateway/console/violation.ts': '../api/server.ts',
  'gateway/protocols/postgres/violation.ts': '../ssh/index.ts',
  'gateway/protocols/http/violation.ts': '../../policy/load.ts',
  'gateway/protocols/kubernetes/violation.ts': '../http/index.ts',
  'gateway/http-relay/violation.ts': '../protocols/http/index.ts',
  'client/violation.ts': '../gateway/core/gate.ts',
  'actions/access/violation.ts': '../../gateway/core/gate.ts',
} as const

let house: string

beforeAll(async () => {
  house = await mkdtemp(join(tmpdir(), 'hoop-house-'))
  await cp('.oxlintrc.json', join(house, '.oxlintrc.json'))
  for (const [path, target] of Object.entries(violations)) {
    await write(path, `import { thing } from '${target}'\nexport const used = thing\n`)
  }
  await write(
    'gateway/core/allowed.ts',
    "import { thing } from '../policy/policy.ts'\nexport const used = thing\n",
  )
  await write(
    'client/allowed.ts',
    "import { thing } from '../gateway/core/contract.ts'\nexport const used = thing\n",
  )
})

afterAll(() => rm(house, { recursive: true, force: true }))

test.each(Object.keys(violations))('the lint refuses what %s imports', async (path) => {
  const found = await lint(path)
  expect(found).toContain('no-restricted-imports')
})

test.each(['gateway/core/allowed.ts', 'client/allowed.ts'])(
  'the lint lets %s import downwards',
  async (path) => {
    expect(await lint(path)).not.toContain('no-restricted-imports')
  },
)

async function write(path: string, text: string): Promise<void> {
  await mkdir(dirname(join(house, path)), { recursive: true })
  await writeFile(join(house, path), text)
}

/** What oxlint prints for one file; it exits non-zero when it finds something. */
async function lint(path: string): Promise<string> {
  const oxlint = join(process.cwd(), 'node_modules/oxlint/bin/oxlint')
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [oxlint, '-c', '.oxlintrc.json', path], {
      cwd: house,
    })
    return stdout
  } catch (error) {
    if (error instanceof Error && 'stdout' in error) return String(error.stdout)
    throw error
  }
}
