import { type Command, Argument } from 'commander'

const shells = ['bash', 'zsh', 'fish'] as const

/** `hoop-access completion`: a script that completes commands, options and their values, made from the commands there are. */
export function addCompletion(program: Command): void {
  program
    .command('completion')
    .description('print a completion script for a shell')
    .addArgument(new Argument('<shell>').choices(shells))
    .addHelpText(
      'after',
      '\nbash and zsh:  eval "$(hoop-access completion bash)"\nfish:          hoop-access completion fish | source',
    )
    .action((shell: (typeof shells)[number]) => {
      process.stdout.write(shell === 'fish' ? fish(wordsOf(program)) : bash(wordsOf(program), shell))
    })
}

interface Place {
  /** The commands that lead there: `approvals list`. */
  readonly path: string
  /** What may follow: commands and options. */
  readonly words: readonly string[]
  /** Of options that take one of a few values, by option. */
  readonly values: ReadonlyMap<string, readonly string[]>
}

function wordsOf(command: Command, path: readonly string[] = []): Place[] {
  const commands = command
    .createHelp()
    .visibleCommands(command)
    .filter((one) => one.name() !== 'help')
  const options = command.options.flatMap(({ long, argChoices }) =>
    long === undefined || long === null ? [] : [[long, argChoices ?? []] as const],
  )
  const words = [...commands.map((one) => one.name()), ...options.map(([long]) => long), '--help']
  const values = new Map(options.filter(([, choices]) => choices.length > 0))
  return [
    { path: path.join(' '), words, values },
    ...commands.flatMap((one) => wordsOf(one, [...path, one.name()])),
  ]
}

// Names of commands and options, and such values, are letters and dashes: nothing in them needs quoting.

/** A word counts as a command only where one is awaited: what an option takes, and what `exec` runs, may read like one. */
function bash(places: readonly Place[], shell: 'bash' | 'zsh'): string {
  const cases = places.map(({ path, words }) => `    '${path}') words='${words.join(' ')}' ;;`)
  const values = places.flatMap((place) =>
    [...place.values].map(
      ([option, choices]) => `    '${place.path} ${option}') words='${choices.join(' ')}' ;;`,
    ),
  )
  const zsh = shell === 'zsh' ? 'autoload -U +X bashcompinit && bashcompinit\n' : ''
  return `${zsh}_hoop_access() {
  local words='' path='' word last="\${COMP_WORDS[COMP_CWORD-1]}"
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    [ "$word" != -- ] || return
    case "\${path:+$path }$word" in ${places
      .map(({ path }) => `'${path}'`)
      .slice(1)
      .join('|')}) path="\${path:+$path }$word" ;; esac
  done
  case "$path" in
${cases.join('\n')}
  esac
  case "$path $last" in
${values.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _hoop_access hoop-access
`
}

function fish(places: readonly Place[]): string {
  const paths = places.flatMap(({ path }) => (path === '' ? [] : [`'${path}'`]))
  const at = ({ path }: Place): string => `test (__hoop_access_path) = "${path}"`
  const lines = places.flatMap((place) => [
    `complete -c hoop-access -f -n '${at(place)}' -a '${place.words.join(' ')}'`,
    ...[...place.values].map(
      ([option, choices]) =>
        `complete -c hoop-access -n '${at(place)}' -l ${option.slice(2)} -x -a '${choices.join(' ')}'`,
    ),
  ])
  return `function __hoop_access_path
  set -l path
  for word in (commandline -opc)[2..-1]
    contains -- (string join ' ' -- $path $word) ${paths.join(' ')}; and set -a path $word
  end
  string join ' ' -- $path; or echo ''
end
${lines.join('\n')}
`
}
