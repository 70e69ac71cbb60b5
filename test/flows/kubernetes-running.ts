import { type ChildProcess, spawn } from 'node:child_process'
import { connect } from 'node:net'
import type { Job } from './gateway-stack.ts'

/** One kubectl that goes on, and what it said. */
export interface Running {
  readonly child: ChildProcess
  out(): string
  readonly code: Promise<number>
}

/** Starts it with the settings of a job, and `home` for its home; with `-it` among its arguments on a terminal of 101 columns and 33 rows. */
export function startKubectl(job: Job, home: string, ...args: string[]): Running {
  const env = { PATH: process.env.PATH ?? '', KUBECONFIG: job.env.KUBECONFIG ?? '', HOME: home }
  // A terminal of a size of its own where one is asked for.
  const [program, ...words] = args.includes('-it')
    ? [
        'script',
        '--quiet',
        '--flush',
        '--return',
        '--command',
        `stty rows 33 cols 101; kubectl ${args.join(' ')}`,
        '/dev/null',
      ]
    : ['kubectl', ...args]
  const child = spawn(program ?? '', words, { env, stdio: ['pipe', 'pipe', 'pipe'] })
  let out = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      out += chunk.toString()
    })
  return {
    child,
    out: () => out,
    code: new Promise((resolve) => child.once('close', (code) => resolve(code ?? 128))),
  }
}

/** What comes of saying something to a port of this machine: the answer, or nothing. */
export function knock(port: number, text = 'knock'): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(text))
    socket.once('data', (data) => {
      resolve(data.toString())
      socket.end()
    })
    for (const over of ['close', 'error']) socket.once(over, () => resolve(''))
  })
}
