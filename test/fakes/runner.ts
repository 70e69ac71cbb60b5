import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parse } from 'yaml'
import { here } from '../machines/here.ts'
import type { Machine } from '../machines/machine.ts'

/** What one step of a job did. */
export interface StepResult {
  readonly code: number
  /** Standard output and error as the log shows them: workflow commands taken out, masked values replaced by `***`. */
  readonly log: string
  readonly outputs: Readonly<Record<string, string>>
}

/** One job as GitHub's runner runs it: an environment that steps change for those after them, and post steps at its end. */
export interface Job {
  /** The environment that later `run:` steps see. */
  readonly env: Record<string, string>
  readonly temp: string
  /** `uses:` with these inputs; `onStart` gets the process, for those who cancel it. */
  use(
    inputs: Readonly<Record<string, string>>,
    onLine?: (line: string) => void,
    onStart?: (child: ChildProcess) => void,
  ): Promise<StepResult>
  /** `run:` one program with the job's environment. */
  run(
    command: readonly string[],
    onLine?: (line: string) => void,
    extra?: Readonly<Record<string, string>>,
    onStart?: (child: ChildProcess) => void,
  ): Promise<StepResult>
  /** Runs the post steps, last first, as at the end of a job. */
  finish(onLine?: (line: string) => void): Promise<StepResult[]>
  summary(): Promise<string>
  /** Removes the job's temporary folder. */
  remove(): Promise<void>
}

/** What the runner gives a job: where to ask for ID tokens (absent without `id-token: write`), and further variables. */
export interface JobOptions {
  readonly root: string
  readonly oidc: { readonly requestUrl: string; readonly requestToken: string } | null
  readonly env?: Readonly<Record<string, string>>
  /** What its steps run on; this machine when not given. */
  readonly machine?: Machine
}

/** Starts a job whose action is the bundle that `action.yml` in `root` names. */
export async function startJob({ root, oidc, env = {}, machine = here }: JobOptions): Promise<Job> {
  const action = await readAction(root)
  const temp = await mkdtemp(join(tmpdir(), 'hoop-runner-'))
  const { delimiter } = machine
  const summaryFile = join(temp, 'summary.md')
  await writeFile(summaryFile, '')
  const masks = new Set<string>()
  const states: Record<string, string>[] = []
  const job: Record<string, string> = {
    PATH: [...machine.folders, ...(machine.os === 'Windows' ? [] : [process.env.PATH ?? ''])].join(delimiter),
    HOME: machine.path(temp),
    CI: 'true',
    GITHUB_ACTIONS: 'true',
    GITHUB_JOB: 'job',
    GITHUB_WORKSPACE: machine.path(root),
    GITHUB_SERVER_URL: 'https://github.com',
    GITHUB_REPOSITORY: 'acme/shop',
    GITHUB_RUN_ID: '1',
    GITHUB_RUN_ATTEMPT: '1',
    GITHUB_STEP_SUMMARY: machine.path(summaryFile),
    RUNNER_TEMP: machine.path(join(temp, '_temp')),
    RUNNER_OS: machine.os,
    ...(oidc && {
      ACTIONS_ID_TOKEN_REQUEST_URL: oidc.requestUrl,
      ACTIONS_ID_TOKEN_REQUEST_TOKEN: oidc.requestToken,
    }),
    ...env,
  }
  await mkdir(join(temp, '_temp'))
  if (oidc) masks.add(oidc.requestToken)
  let steps = 0

  async function step(
    command: readonly string[],
    extra: Readonly<Record<string, string>>,
    onLine: ((line: string) => void) | undefined,
    onStart?: (child: ChildProcess) => void,
  ): Promise<StepResult & { state: Record<string, string> }> {
    const files: Record<string, string> = {}
    const written: Record<string, string> = {}
    for (const name of ['ENV', 'OUTPUT', 'STATE', 'PATH']) {
      const file = join(temp, '_temp', `${name.toLowerCase()}-${steps}`)
      await writeFile(file, '')
      files[`GITHUB_${name}`] = machine.path(file)
      written[name] = file
    }
    steps++
    const lines: string[] = []
    const read = (line: string): void => {
      const mask = /^::add-mask::(.*)$/.exec(line)
      if (mask?.[1] !== undefined) {
        masks.add(unescape(mask[1]))
        return
      }
      let shown = line
      for (const value of masks) if (value.length > 0) shown = shown.replaceAll(value, '***')
      lines.push(shown)
      onLine?.(shown)
    }
    const started = machine.start(command, { ...job, ...files, ...extra })
    const output = machine.pipes ? null : join(temp, `output-${steps}`)
    const code = await runProcess(started, { onLine: read, onStart, output })
    Object.assign(job, await readCommandFile(written.ENV))
    const added = (await readFile(written.PATH ?? '', 'utf8')).split(/\r?\n/).filter((one) => one !== '')
    job.PATH = [...added.reverse(), job.PATH].join(delimiter)
    return {
      code,
      log: lines.join('\n'),
      outputs: await readCommandFile(written.OUTPUT),
      state: await readCommandFile(written.STATE),
    }
  }

  return {
    env: job,
    temp,
    async use(inputs, onLine, onStart) {
      const given: Record<string, string> = {}
      for (const [name, fallback] of Object.entries(action.inputs)) given[inputName(name)] = fallback
      for (const [name, value] of Object.entries(inputs)) {
        if (!(name in action.inputs)) throw new Error(`action.yml has no input ${name}`)
        given[inputName(name)] = value
      }
      const { state, ...result } = await step(
        [machine.node, machine.path(join(root, action.main))],
        given,
        onLine,
        onStart,
      )
      states.push(state)
      return result
    },
    async run(command, onLine, extra = {}, onStart) {
      const { state: _, ...result } = await step(command, extra, onLine, onStart)
      return result
    },
    async finish(onLine) {
      const results: StepResult[] = []
      for (const state of states.splice(0).reverse()) {
        const given = Object.fromEntries(
          Object.entries(state).map(([name, value]) => [`STATE_${name}`, value]),
        )
        const { state: _, ...result } = await step(
          [machine.node, machine.path(join(root, action.post))],
          given,
          onLine,
        )
        results.push(result)
      }
      return results
    },
    summary: () => readFile(summaryFile, 'utf8'),
    remove: () => rm(temp, { recursive: true, force: true }),
  }
}

async function readAction(
  root: string,
): Promise<{ main: string; post: string; inputs: Record<string, string> }> {
  const action: unknown = parse(await readFile(join(root, 'action.yml'), 'utf8'))
  const { runs, inputs } = action as {
    runs: { using: string; main: string; post: string }
    inputs: Record<string, { default?: string | number | boolean }>
  }
  if (runs.using !== 'node24') throw new Error(`the runner has no ${runs.using}`)
  return {
    main: runs.main,
    post: runs.post,
    inputs: Object.fromEntries(
      Object.entries(inputs).map(([name, input]) => [name, String(input.default ?? '')]),
    ),
  }
}

function inputName(name: string): string {
  return `INPUT_${name.replaceAll(' ', '_').toUpperCase()}`
}

function unescape(value: string): string {
  return value.replaceAll('%0D', '\r').replaceAll('%0A', '\n').replaceAll('%25', '%')
}

/** Reads `NAME=value` and `NAME<<DELIMITER` entries, as the runner reads GITHUB_ENV, GITHUB_OUTPUT and GITHUB_STATE. */
async function readCommandFile(path: string | undefined): Promise<Record<string, string>> {
  const lines = (await readFile(path ?? '', 'utf8')).split(/\r?\n/)
  const found: Record<string, string> = {}
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index] ?? ''
    const heredoc = /^([^=<]+)<<(.+)$/.exec(line)
    if (heredoc?.[1] !== undefined) {
      const value: string[] = []
      for (index++; index < lines.length && lines[index] !== heredoc[2]; index++)
        value.push(lines[index] ?? '')
      if (index === lines.length) throw new Error(`${path}: no end of ${heredoc[1]}`)
      found[heredoc[1]] = value.join('\n')
    } else if (line.includes('=')) {
      found[line.slice(0, line.indexOf('='))] = line.slice(line.indexOf('=') + 1)
    } else if (line !== '') {
      throw new Error(`${path}: cannot read ${JSON.stringify(line)}`)
    }
  }
  return found
}

/** Runs one program, line by line; `output` is the file that it writes to, where it cannot write to a pipe. */
async function runProcess(
  { command, env }: ReturnType<Machine['start']>,
  how: {
    onLine: (line: string) => void
    onStart: ((child: ChildProcess) => void) | undefined
    output: string | null
  },
): Promise<number> {
  const { onLine, onStart, output } = how
  const [program = '', ...args] = command
  const file = output === null ? null : openSync(output, 'w')
  const code = await new Promise<number>((resolve, reject) => {
    const child = spawn(program, args, { env, stdio: ['ignore', file ?? 'pipe', file ?? 'pipe'] })
    onStart?.(child)
    for (const stream of [child.stdout, child.stderr]) {
      let rest = ''
      stream?.setEncoding('utf8')
      stream?.on('data', (chunk: string) => {
        const lines = (rest + chunk).split('\n')
        rest = lines.pop() ?? ''
        lines.forEach(onLine)
      })
      stream?.on('end', () => {
        if (rest !== '') onLine(rest)
      })
    }
    child.on('error', reject)
    child.on('close', (status, signal) => resolve(status ?? (signal === null ? 1 : 137)))
  })
  if (file === null || output === null) return code
  closeSync(file)
  for (const line of readFileSync(output, 'utf8').split(/\r?\n/)) onLine(line)
  return code
}
