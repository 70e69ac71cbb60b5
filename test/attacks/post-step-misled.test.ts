import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { markOf } from '../../client/process-mark.ts'
import { type GatewayApi, startGatewayApi } from '../fakes/gateway-api.ts'
import { type GithubOidc, startGithubOidc } from '../fakes/github-oidc.ts'
import { type Job, startJob } from '../fakes/runner.ts'
import { eventually } from '../flows/stack.ts'
import { root } from '../servers/gateway.ts'

// A step that was taken over can write whatever the job's user can, the private folder included. The post step ends the
// identity all the same, and destroys nothing of others.

let oidc: GithubOidc
let api: GatewayApi
let job: Job
let folder: string
beforeEach(async () => {
  oidc = await startGithubOidc()
  api = await startGatewayApi()
  job = await startJob({ root, oidc, env: { DATABASE_URL: 'postgres://db.internal/shop' } })
  folder = await mkdtemp(join(tmpdir(), 'hoop-misled-'))
  await mkdir(join(folder, 'victim'))
  await writeFile(join(folder, 'victim/file'), 'precious')
})
afterEach(async () => {
  await job.remove()
  await oidc.close()
  await api.close()
  await rm(folder, { recursive: true, force: true })
})

async function endAfter(evil: string): Promise<string> {
  const main = await job.use({ gateway: api.url, ca: api.pin, stage: 'test', env: 'DATABASE_URL=orders-db' })
  expect(main.code, main.log).toBe(0)
  const renewal = await eventually(
    async () =>
      JSON.parse(await readFile(join(main.outputs.home ?? '', 'renewal.json'), 'utf8')) as {
        pid: number
        mark: string
      },
  )
  const step = await job.run(['sh', '-ec', evil], undefined, { VICTIM: join(folder, 'victim') })
  expect(step.code, step.log).toBe(0)
  const [post] = await job.finish()
  expect(post?.code, post?.log).toBe(0)
  expect(api.identities.map(({ revoked }) => revoked)).toEqual([true])
  expect(existsSync(join(folder, 'victim/file'))).toBe(true)
  expect(existsSync(main.outputs.home ?? '')).toBe(false)
  // What renewed ends, too, whatever it finds where its folder was.
  await eventually(async () => expect(await markOf(renewal.pid)).not.toBe(renewal.mark))
  return post?.log ?? ''
}

const registration = '"$HOOP_HOME/renewal.json"'
test.for([
  ['a log without an end', 'ln -sf /dev/zero "$HOOP_HOME/renewal.log"'],
  [
    'a pipe that nobody writes to',
    'mkfifo "$HOOP_HOME/renewal.log" "$HOOP_HOME/evil"; mv "$HOOP_HOME/evil" "$HOOP_HOME/renewal.json"',
  ],
  ['a pipe for a token', 'rm "$HOOP_HOME/token"; mkfifo "$HOOP_HOME/token"'],
  ['a token that is none', 'printf "a\\r\\nX-Evil: 1" >"$HOOP_HOME/token"'],
  ['another token', 'echo tok.other >"$HOOP_HOME/token"'],
  ['a log of a gigabyte', 'truncate -s 1G "$HOOP_HOME/renewal.log"'],
  ['folders where files are', `rm -f ${registration}; mkdir "$HOOP_HOME/renewal.log" ${registration}`],
  ['the folder as a link to another', 'rm -rf "$HOOP_HOME"; ln -s "$VICTIM" "$HOOP_HOME"'],
  [
    'links in the folder',
    'rm -rf "$HOOP_HOME/bin"; ln -s "$VICTIM" "$HOOP_HOME/bin"; ln -s "$VICTIM" "$HOOP_HOME/x"',
  ],
  [
    'an identity that is not there any more',
    'rm -f "$HOOP_HOME"/*.json "$HOOP_HOME"/client.*; echo "{}" >"$HOOP_HOME/identity.json"',
  ],
] as const)('%s', async ([, evil]) => {
  await endAfter(evil)
})

test('a registration that names a process of somebody else ends nothing', async () => {
  const mark = await markOf(process.pid)
  // Its pid with another start, its start with another pid: only both together would be it.
  const log = await endAfter(
    `echo '{"pid":${process.pid},"mark":"1"}' >${registration}; echo '{"pid":1,"mark":"${mark}"}' >"$HOOP_HOME/other"`,
  )
  expect(log).toContain('revoked')
})

test('workflow commands in what the background had to say are text', async () => {
  const log = await endAfter(
    `printf '::set-output name=x::y\\n%%0A::error::mine\\n' >"$HOOP_HOME/renewal.log"`,
  )
  const commands = log.split('\n').filter((line) => line.startsWith('::'))
  expect(commands.every((line) => line.startsWith('::warning::'))).toBe(true)
})

test('a folder that others may read now is not trusted, and goes', async () => {
  await endAfter('chmod 777 "$HOOP_HOME"')
})
