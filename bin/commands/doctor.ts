import type { Command } from 'commander'
import { printable } from '../../client/error.ts'
import { diagnose, type Finding } from '../../client/doctor.ts'
import { type ClientOptions, orVariable, withClientOptions } from './options.ts'
import { print, printJson } from './terminal.ts'

const signs = { good: '✓', bad: '✗', skipped: '·' } as const

/** `hoop-access doctor`: says what is wrong with a set-up, and the fix. */
export function addDoctor(program: Command): void {
  withClientOptions(program.command('doctor'))
    .description('say what is wrong with a set-up, and the fix')
    .option('--stage <name>', 'the stage that is to be reached (HOOP_STAGE)')
    .action(async (options: ClientOptions & { stage?: string }) => {
      const findings: Finding[] = []
      const checks = diagnose({
        gateway: orVariable(options.gateway, 'HOOP_GATEWAY'),
        ca: orVariable(options.ca, 'HOOP_CA'),
        platform: orVariable(options.platform, 'HOOP_PLATFORM'),
        stage: orVariable(options.stage, 'HOOP_STAGE'),
        environment: process.env,
      })
      for await (const finding of checks) {
        findings.push(finding)
        if (options.json !== true) show(finding)
      }
      if (options.json === true) printJson(findings)
      if (findings.some(({ state }) => state === 'bad')) process.exitCode = 1
    })
}

function show({ check, state, found, fix }: Finding): void {
  print(`${signs[state]} ${check.padEnd(14)} ${printable(found)}`)
  for (const line of fix === '' ? [] : fix.split('\n')) print(`  ${' '.repeat(14)} ${printable(line)}`)
}
