import type { Command } from 'commander'

/** `hoop-access policy`: checks and explains hoop.yaml, offline and without secrets. */
export function addPolicy(program: Command): void {
  program.command('policy').description('check and explain hoop.yaml, offline and without secrets')
}
