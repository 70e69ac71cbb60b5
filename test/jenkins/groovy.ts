import { spawn } from 'node:child_process'
import { realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { root } from '../servers/gateway.ts'
import { find } from '../servers/programs.ts'

/** Runs a Groovy script of this folder with JSON on its standard input; gives the JSON that it prints. */
export function groovy(script: string, args: readonly string[], input: unknown): Promise<unknown> {
  const path = process.env.PATH ?? ''
  return new Promise((resolve, reject) => {
    const child = spawn('groovy', [join(root, 'test/jenkins', script), ...args], {
      env: { PATH: path, JAVA_HOME: dirname(dirname(realpathSync(find('java') ?? 'java'))) },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    let [out, err] = ['', '']
    child.stdout.on('data', (chunk) => (out += String(chunk)))
    child.stderr.on('data', (chunk) => (err += String(chunk)))
    child.once('error', reject)
    child.once('close', (code) => {
      if (code === 0) resolve(JSON.parse(out))
      else reject(new Error(`${script} ended with ${code}:\n${err}`))
    })
    child.stdin.end(JSON.stringify(input))
  })
}
