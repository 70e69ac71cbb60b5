#!/usr/bin/env node
// Starts the executable under a Node that can run it: the sources need Node 24 (type stripping, node:sqlite),
// which comes as an optional dependency, while `env node` may find an older one.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { constants } from 'node:os'
import { fileURLToPath } from 'node:url'

const wanted = 24
// Node strips no types under node_modules, so an installed package runs its built form.
const built = new URL('../dist/hoop-access.js', import.meta.url)
const source = new URL('./hoop-access.ts', import.meta.url)
const program = existsSync(source) ? source : built

// Nothing in the gateway follows requests by AsyncLocalStorage, and what Node does for it each time that JavaScript is entered
// is a tenth of what a query costs (docs/decisions/postgres-relay.md). A Node that no longer knows the flag goes without.
const lean = '--no-async-context-frame'
const isGateway = process.argv[2] === 'gateway'

if (Number(process.versions.node.split('.')[0]) >= wanted) {
  // The same process with another flag; Windows has no such call.
  const leaner =
    isGateway && process.allowedNodeEnvironmentFlags.has(lean) && !process.execArgv.includes(lean)
  if (leaner && process.platform !== 'win32' && process.execve !== undefined) {
    const options = [...process.execArgv, lean]
    process.execve(process.execPath, [process.execPath, ...options, ...process.argv.slice(1)], process.env)
  }
  await import(program.href)
} else {
  const node = findNode()
  if (node === undefined) {
    console.error(
      `hoop-access: needs Node ${wanted} or newer, and this is ${process.versions.node}. ` +
        'Install Node 24, or install hoop-access without --omit=optional, which brings one.',
    )
    process.exit(125)
  }
  const options = isGateway ? [lean] : []
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2']) {
    // On Windows the console tells the child as well, and to pass it on would end it at once.
    process.on(signal, () => process.platform === 'win32' || child.kill(signal))
  }
  const child = spawn(node, [...options, fileURLToPath(program), ...process.argv.slice(2)], {
    stdio: 'inherit',
    // Killed, this process cannot pass anything on: the program looks whether it is still there.
    env: { ...process.env, HOOP_STARTER: String(process.pid) },
  })
  child.on('exit', (code, signal) => {
    process.exitCode = code ?? 128 + (constants.signals[signal] ?? 0)
  })
}

function findNode() {
  const require = createRequire(import.meta.url)
  const executable = process.platform === 'win32' ? 'bin/node.exe' : 'bin/node'
  for (const prefix of ['node', 'node-bin']) {
    try {
      return require.resolve(
        `${prefix}-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}/${executable}`,
      )
    } catch {
      continue // not the package of this platform
    }
  }
  return undefined
}
