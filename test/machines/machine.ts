/** A machine on which a job's steps run: what a runner has to know of it. */
export interface Machine {
  /** As `RUNNER_OS` calls it. */
  readonly os: 'Linux' | 'macOS' | 'Windows'
  /** Node, as a step would name it. */
  readonly node: string
  /** A path of ours, as programs of the machine name it. */
  path(path: string): string
  /** What parts the folders of PATH. */
  readonly delimiter: ':' | ';'
  /** The first folders of PATH. */
  readonly folders: readonly string[]
  /** How we start a program of it that sees `env`. */
  start(
    command: readonly string[],
    env: Readonly<Record<string, string>>,
  ): { readonly command: readonly string[]; readonly env: Readonly<Record<string, string>> }
  /** False where its programs cannot write to our pipes: they write to a file, which is read at their end. */
  readonly pipes: boolean
  /** Removes what was made for it. */
  remove(): Promise<void>
}
