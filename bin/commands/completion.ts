import { type Command, Argument } from 'commander'

const shells = ['bash', 'zsh', 'fish'] as const

/** `hoop-access completion`: a script that completes commands and options, made from the commands there are. */
export function addCompletion(program: Command): void {
  program
    .command('completion')
    .description('print a completion script for a shell')
    .addArgument(new Argument('<shell>').choices(shells))
    .addHelpText('after', '\nbash:  eval "$(hoop-access completion bash)"')
    .action((shell: (typeof shells)[number]) => {
      process.stdout.write(render(shell, wordsOf(program)))
    })
}

/** What may follow each line of commands: `approvals` is followed by `list`, `show` … */
type Words = readonly { readonly path: string; readonly words: readonly string[] }[]

function wordsOf(command: Command, path: readonly string[] = []): Words {
  const options = command.options.flatMap(({ long }) => (long === undefined || long === null ? [] : [long]))
  const words = [...command.commands.map((one) => one.name()), ...options, '--help']
  return [
    { path: path.join(' '), words },
    ...command.commands.flatMap((one) => wordsOf(one, [...path, one.name()])),
  ]
}

function render(shell: (typeof shells)[number], words: Words): string {
  // Names of commands and options are letters and dashes: nothing in them needs quoting.
  if (shell === 'fish') {
    const lines = words.map(
      ({ path, words: known }) =>
        `complete -c hoop-access -f -n 'test (__hoop_access_path) = "${path}"' -a '${known.join(' ')}'`,
    )
    return `${fishPath(words)}${lines.join('\n')}\n`
  }
  const cases = words
    .map(({ path, words: known }) => `    '${path}') words='${known.join(' ')}' ;;`)
    .join('\n')
  const zsh = shell === 'zsh' ? 'autoload -U +X bashcompinit && bashcompinit\n' : ''
  return `${zsh}_hoop_access() {
  local words='' path='' word
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$word" in --) return ;; -*) ;; *) path="\${path:+$path }$word" ;; esac
  done
  case "$path" in
${cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _hoop_access hoop-access
`
}

function fishPath(words: Words): string {
  const names = [...new Set(words.flatMap(({ path }) => path.split(' ')))].filter((name) => name !== '')
  return `function __hoop_access_path
  set -l path
  for word in (commandline -opc)[2..-1]
    contains -- $word ${names.join(' ')}; and set -a path $word
  end
  string join ' ' -- $path; or echo ''
end
`
}
