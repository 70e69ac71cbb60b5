const names =
  /^(LANG|LANGUAGE|LC_(ALL|ADDRESS|COLLATE|CTYPE|IDENTIFICATION|MEASUREMENT|MESSAGES|MONETARY|NAME|NUMERIC|PAPER|TELEPHONE|TIME))$/
const values = /^[A-Za-z0-9_.@:-]{0,64}$/

/** True for variables that a client may set: locales, and the version of git's protocol. All others change what a command does (BASH_ENV, LD_PRELOAD, GIT_SSH …). */
export function mayBeSet(name: string, value: string): boolean {
  return names.test(name) ? values.test(value) : name === 'GIT_PROTOCOL' && /^version=[0-9]$/.test(value)
}
