import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs'
import { chmod, cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { type Server, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { executable, start, startAtTerminal } from '../bin/executable.ts'
import { type GatewayApi, startGatewayApi } from '../fakes/gateway-api.ts'
import { lacks, told } from '../servers/programs.ts'

// What a command in a sandbox tries in order to get at the identity above it. Each road is seen leading there without one.

const works = (...words: string[]): boolean => spawnSync(words[0] ?? '', words.slice(1)).status === 0
const root = process.getuid?.() === 0
const notRoot = told(root ? null : 'not root, who can mount')
const kinds = [
  ['bubblewrap', lacks('bwrap')],
  [
    'util-linux',
    lacks('mount', 'unshare') ||
      told(works('unshare', '--user', '--map-root-user', 'true') ? null : 'no user namespace can be made'),
  ],
] as const

let api: GatewayApi
let temp: string
let settings: Record<string, string>
let home: string
let secret: string
let server: Server
let step: ChildProcess
beforeAll(async () => {
  temp = await mkdtemp(join(tmpdir(), 'sandbox-test-'))
  // Makes the first kind fail, so that the second is what is left.
  await mkdir(join(temp, 'util-linux'))
  await writeFile(join(temp, 'util-linux/bwrap'), '#!/bin/sh\nexit 1\n')
  await chmod(join(temp, 'util-linux/bwrap'), 0o755)
  await mkdir(join(temp, 'runner'))
  api = await startGatewayApi()
  const base = {
    HOOP_GATEWAY: api.url,
    HOOP_CA: api.pin,
    RUNNER_TEMP: join(temp, 'runner'),
    HOOP_ID_TOKEN: 'e30.e30.parents-id-token',
  }
  const opened = start(['open', '--stage', 'deploy', '--platform', 'token'], base)
  expect(await opened.code, opened.stderr()).toBe(0)
  home = opened.stdout().trim()
  settings = {
    ...base,
    HOOP_HOME: home,
    NODE: process.execPath,
    PARENT_NAME: basename(home),
    GITHUB_ENV: join(temp, 'github-env'),
    TEMP: temp,
    XDG_CONFIG_HOME: join(temp, 'config'),
    SEGMENT: makeSegment(),
    HOOP_ACCESS: join(temp, 'runner/hoop-access-77/bin/hoop-access'),
  }
  // As the GitLab component keeps it, and as `login` does.
  const others = join(temp, 'runner/hoop-access-77')
  await mkdir(join(others, 'bin'), { recursive: true })
  await writeFile(join(others, 'bin/hoop-access'), '')
  await cp(home, join(others, 'home'), { recursive: true })
  const elsewhere = join(temp, 'elsewhere/home')
  await cp(home, elsewhere, { recursive: true })
  step = spawn('sleep', ['600'], { env: { PATH: process.env.PATH, HOOP_HOME: elsewhere } })
  await mkdir(join(temp, 'config/hoop-access'), { recursive: true })
  await writeFile(join(temp, 'config/hoop-access/login.json'), '{"token":"parents-id-token"}')
  await writeFile(join('/dev/shm', basename(home)), 'parents-id-token')
  secret = readFileSync(join(home, 'client.key'), 'utf8').split('\n')[1] ?? ''
  expect(secret.length).toBeGreaterThan(30)
  // mq_open(2) with O_CREAT | O_RDWR, and mq_timedsend(2).
  const send = 'syscall(242, syscall(240, $n = $ARGV[0], 0x42, 0600, 0), $t = "parents-id-token", 16, 0, 0)'
  if (!noNumbers) expect(works('perl', '-e', `exit !!${send}`, basename(home))).toBe(true)
  await symlink(home, join(temp, 'link'))
  await writeFile(join(temp, 'github-env'), '')
  server = createServer((socket) => socket.end('parents-socket'))
  await new Promise<void>((done) => server.listen(join(temp, 'agent.sock'), done))
  await writeFile(join(temp, 'read-memory.mjs'), readMemory)
})
afterAll(async () => {
  server.close()
  step.kill()
  await api.close()
  await rm(temp, { recursive: true, force: true })
  await rm(join('/dev/shm', basename(home)), { force: true })
  spawnSync('ipcrm', ['--shmem-id', settings.SEGMENT ?? ''])
  if (!noNumbers) spawnSync('perl', ['-e', 'syscall(241, $n = $ARGV[0])', basename(home)])
})

/** The id of a new segment of System V shared memory. */
function makeSegment(): string {
  const made = spawnSync('ipcmk', ['--shmem', '4096'], { encoding: 'utf8' })
  return /(\d+)\s*$/.exec(made.stdout)?.[1] ?? 'none'
}

// Reads the memory of every process that it can see but its own, for a text that it makes up from its halves.
const readMemory = `
import { openSync, readFileSync, readSync, readdirSync } from 'node:fs'
const wanted = Buffer.from(['parents', 'id-token'].join('-'))
for (const pid of readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name) && Number(name) !== process.pid)) {
  try {
    if (!readFileSync('/proc/' + pid + '/cmdline', 'latin1').includes('hoop-access')) continue
    const memory = openSync('/proc/' + pid + '/mem', 'r')
    for (const line of readFileSync('/proc/' + pid + '/maps', 'utf8').split('\\n')) {
      const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? []
      if (from === undefined) continue
      const [begin, end] = [Number.parseInt(from, 16), Number.parseInt(to, 16)]
      if (end - begin > 64e6) continue
      const bytes = Buffer.alloc(end - begin)
      try { readSync(memory, bytes, 0, bytes.length, begin) } catch { continue }
      if (bytes.includes(wanted)) { console.log('STOLEN parents-id-token'); process.exit() }
    }
  } catch {}
}
`

const roads: readonly (readonly [name: string, script: string])[] = [
  ['its files', 'cat "$PARENT/client.key"; ls "$PARENT"'],
  [
    'its files, by a link',
    'cat "$TEMP/link/client.key"; ln -s "$PARENT" "$HOOP_HOME/l"; cat "$HOOP_HOME/l/token" "$HOOP_HOME/l/client.key"',
  ],
  [
    'its files, by the root or folder of another process',
    'for p in /proc/[0-9]*; do cat "$p/root$PARENT/client.key" "$p/cwd/$PARENT/client.key"; done',
  ],
  ['its files, by every open file there is', 'for f in /proc/[0-9]*/fd/*; do cat "$f/client.key"; done'],
  ['the environment of its process', "cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -a -A1 parents-id"],
  ['the memory of its process', '"$NODE" "$TEMP/read-memory.mjs"'],
  ['the login of the person whose machine it is', 'cat "$TEMP/config/hoop-access/login.json"'],
  [
    'the identity of another job, which its plugin keeps in a folder of its own',
    'cat "$TEMP"/runner/hoop-access-*/home/client.key',
  ],
  ['shared memory', 'cat /dev/shm/"$PARENT_NAME"; ipcs -m | grep -F " $SEGMENT " && echo STOLEN'],
  [
    'its sockets',
    "\"$NODE\" -e \"require('net').connect(process.env.TEMP+'/agent.sock').on('error',()=>{}).pipe(process.stdout)\"",
  ],
]

const tricks: readonly (readonly [name: string, script: string])[] = [
  ['taking the cover away', 'umount "$PARENT"; umount -l "$PARENT"; cat "$PARENT/client.key"'],
  [
    'taking it away as the root of a namespace of its own',
    'unshare --user --map-root-user --mount sh -c \'umount "$PARENT"; umount -l "$PARENT"; cat "$PARENT/client.key"\'',
  ],
  [
    'looking under it',
    'unshare --user --map-root-user --mount sh -c \'mkdir "$HOOP_HOME/m"; mount --bind "$RUNNER_TEMP" "$HOOP_HOME/m"; cat "$HOOP_HOME"/m/*/client.key | grep -v "$(sed -n 2p "$HOOP_HOME/client.key")"; mount --rbind / "$HOOP_HOME/m"; cat "$HOOP_HOME/m$PARENT/client.key"\'',
  ],
  [
    'putting another folder in its place, for its parent to trust',
    'mv "$RUNNER_TEMP" "$TEMP/moved" && echo STOLEN; mv "$TEMP" "$TEMP-moved" && echo STOLEN; rmdir "$PARENT" && echo STOLEN; mv "$PARENT" "$PARENT-moved" && echo STOLEN',
  ],
  [
    'entering the namespaces of another process',
    'for p in /proc/[0-9]*; do nsenter -t "${p#/proc/}" -U -m cat "$PARENT/client.key"; nsenter --mount="$p/ns/mnt" cat "$PARENT/client.key"; done',
  ],
  [
    'mounting the process table anew',
    'unshare --user --map-root-user --mount sh -c \'mkdir "$HOOP_HOME/p"; mount -t proc proc "$HOOP_HOME/p"; cat "$HOOP_HOME"/p/[0-9]*/environ\' | tr "\\0" "\\n" | grep -a parents-id',
  ],
  [
    'gaining a privilege',
    'grep -E "^(CapEff|CapPrm|CapAmb|NoNewPrivs)" /proc/self/status | grep -v 0000000000000000 | grep -v "NoNewPrivs:.1" && echo STOLEN',
  ],
  ['ending its parent', 'kill -9 "$VICTIM" && echo STOLEN'],
  [
    'making it crash, for what it leaves',
    `cd "$HOOP_HOME"; ulimit -c unlimited; for p in /proc/[0-9]*; do [ "$p" = "/proc/$$" ] || kill -SEGV "\${p#/proc/}"; done; sh -c 'kill -SEGV $$'; sleep 0.2; cat core* | grep -a -o 'parents[-]id-token'`,
  ],
  [
    'a file system of its own making, or a device',
    '[ -e /dev/fuse ] && echo STOLEN; mknod "$HOOP_HOME/fuse" c 10 229 && echo STOLEN; mknod "$HOOP_HOME/mem" c 1 1 && echo STOLEN',
  ],
  [
    'changing what its job runs next',
    'echo evil >>"$TEMP/runner/hoop-access-77/bin/hoop-access" && echo STOLEN; mv "$TEMP/runner/hoop-access-77" "$TEMP/runner/7" && echo STOLEN; rm -r "$TEMP/runner/hoop-access-77/bin"; [ -e "$TEMP/runner/hoop-access-77/bin/hoop-access" ] || echo STOLEN',
  ],
  [
    'putting a link in place of its own folder, for its parent to write through',
    'mv "$HOOP_HOME" "$HOOP_HOME-moved" && ln -s "$PARENT" "$HOOP_HOME" && echo STOLEN; rm -r "$HOOP_HOME"; [ -d "$HOOP_HOME" ] || echo STOLEN',
  ],
]

// What only root of the machine may do, and in a sandbox must not.
const tricksOfRoot: readonly (readonly [name: string, script: string])[] = [
  [
    'letting anybody trace, watch or dump',
    'cd /proc/sys; for f in kernel/yama/ptrace_scope kernel/perf_event_paranoid kernel/unprivileged_bpf_disabled kernel/io_uring_disabled vm/unprivileged_userfaultfd fs/suid_dumpable; do was=$(cat "$f") && echo "$was" >"$f" && echo STOLEN; done',
  ],
  [
    'naming a program that the kernel runs when one crashes',
    'was=$(cat /proc/sys/kernel/core_pattern); echo "$was" >/proc/sys/kernel/core_pattern && echo STOLEN',
  ],
  [
    'asking the kernel to tell of a device',
    'for d in /sys/class/mem/null /sys/class/mem/zero; do echo change >"$d/uevent" && echo STOLEN; done',
  ],
  [
    'moving to another group of processes',
    'for g in /sys/fs/cgroup /sys/fs/cgroup/*; do echo $$ >"$g/cgroup.procs" && echo STOLEN; done',
  ],
  [
    'reading the disk',
    'for d in /dev/vd? /dev/sd? /dev/nvme?n? /dev/dm-? /dev/mem /dev/kmsg; do [ -e "$d" ] && echo STOLEN; done',
  ],
]

/** Where the two files that are handed on are open: node itself sees to the first few only. */
const handedAt = 200

// What has no program of its own: by the numbers of x64's system calls.
const roadsByNumber: readonly (readonly [name: string, script: string])[] = [
  [
    'its open files, by pidfd_getfd(2)',
    `perl -e 'for $p (map { m{(\\d+)} } glob "/proc/[0-9]*") { $d = syscall(434, $p + 0, 0); next if $d < 0; for $n (3..${handedAt + 1}) { $g = syscall(438, $d, $n, 0); next if $g < 0; for $f ("/proc/self/fd/$g", "/proc/self/fd/$g/client.key") { print <F> if -f $f && open F, "<", $f } syscall(3, $g) } }'`,
  ],
  [
    'its process, by ptrace(2)',
    `perl -e 'print "STOLEN" if syscall(101, 0x4206, $ENV{VICTIM} + 0, 0, 0) == 0'`,
  ],
  [
    'what its process does, by perf_event_open(2)',
    // struct perf_event_attr: PERF_TYPE_SOFTWARE, its size, ...; exclude_kernel and exclude_hv.
    `perl -e '$a = pack "LLQ4Qx64", 1, 112, 0, 0, 0, 0, 0x60; print "STOLEN" if syscall(298, $a, $ENV{VICTIM} + 0, -1, -1, 0) >= 0'`,
  ],
  [
    'its message queues',
    `perl -e '$n = "$ENV{PARENT_NAME}"; print "STOLEN" if syscall(240, $n, 0, 0, 0) >= 0'`,
  ],
]

/** Runs a script under `exec`, the parent's key and folder open; `PARENT` is its folder, which no variable of a child names. */
async function attempt(
  script: string,
  flags: readonly string[],
  { path = '', by = [] }: { path?: string; by?: readonly string[] } = {},
): Promise<string> {
  const handed = [openSync(join(home, 'client.key'), 'r'), openSync(home, 'r')]
  const named = `export PARENT="$TEMP/runner/$PARENT_NAME"; ${script}`
  const between = Array.from({ length: handedAt - 3 }, () => 'ignore' as const)
  const command = [...by, process.execPath, executable, 'exec', ...flags, '--', 'sh', '-c', named]
  const child = spawn(command[0] ?? '', command.slice(1), {
    env: { PATH: `${path}${process.env.PATH}`, ...settings, VICTIM: String(process.pid) },
    stdio: ['ignore', 'pipe', 'pipe', ...between, ...handed],
  })
  for (const file of handed) closeSync(file)
  let said = ''
  child.stdout?.on('data', (chunk: Buffer) => (said += chunk.toString('latin1')))
  child.stderr?.resume()
  await new Promise((done) => child.once('close', done))
  return said
}

// add_key(2) into a session's keyring of its own, which what it starts inherits; keyctl(2) to read it there.
const withKey = [
  'perl',
  '-e',
  'syscall(250, 1, 0); syscall(248, $t = "user", $n = "hoop", $p = "parents-id-token", 16, -3); exec @ARGV or die',
]
const readKey = `perl -e '$k = syscall(250, 10, -3, $t = "user", $n = "hoop", 0); $b = "x" x 64; $l = syscall(250, 11, $k, $b, 64); print substr($b, 0, $l > 0 ? $l : 0)'`
// There it has the terminal itself, and Ctrl-C is bubblewrap's, too.
const ownTerminal = told(
  works('grep', '-qx', '0', '/proc/sys/dev/tty/legacy_tiocsti') ? 'a kernel that lets nobody type' : null,
)
const noTracing = told(root || !existsSync('/proc/sys/kernel/yama') ? null : 'Yama lets nobody trace others')
const noNumbers =
  lacks('perl') ||
  told(process.arch === 'x64' ? null : 'not x64, whose numbers of system calls are written here')

const stolen = (said: string): boolean =>
  said.includes(secret) || /parents-id-token|parents-socket|STOLEN/.test(said)

describe('without a sandbox', () => {
  test.each(roads)('%s can be had, as the help says', async (_, script) => {
    expect(stolen(await attempt(script, []))).toBe(true)
  })

  test.skipIf(noNumbers || noTracing).each(roadsByNumber)('%s can be had', async (_, script) => {
    expect(stolen(await attempt(script, []))).toBe(true)
  })

  test.skipIf(noNumbers)('the keyring that it inherits can be read', async () => {
    expect(stolen(await attempt(readKey, [], { by: withKey }))).toBe(true)
  })

  test('files that were handed on are handed on', async () => {
    expect(stolen(await attempt(`cat /proc/self/fd/${handedAt}`, []))).toBe(true)
  })
})

test.skipIf(kinds[0][1] || noNumbers)('in a sandbox by bubblewrap the keyring gives nothing', async () => {
  const said = await attempt(`${readKey}; echo through`, ['--sandbox'], {
    by: withKey,
  })
  expect(said).toContain('through')
  expect(stolen(said)).toBe(false)
})

describe.each(kinds)('in a sandbox by %s', (kind, unavailable) => {
  const flags = ['--sandbox']
  const path = kind === 'util-linux' ? `__/util-linux:` : ''
  const tried = (script: string): Promise<string> =>
    attempt(script, flags, { path: path.replace('__', temp) })

  test.skipIf(unavailable).each([...roads, ...tricks])('%s gives nothing', async (_, script) => {
    const said = await tried(`${script}; echo through`)
    expect(said).toContain('through')
    expect(stolen(said)).toBe(false)
  })

  test.skipIf(unavailable || noNumbers).each(roadsByNumber)('%s gives nothing', async (_, script) => {
    const said = await tried(`${script}; echo through`)
    expect(said).toContain('through')
    expect(stolen(said)).toBe(false)
  })

  test.skipIf(unavailable || notRoot).each(tricksOfRoot)('%s does not go', async (_, script) => {
    const said = await tried(`${script}; echo through`)
    expect(said).toContain('through')
    expect(stolen(said)).toBe(false)
  })

  test.skipIf(unavailable || lacks('script', 'perl'))('nothing can be typed into the terminal', async () => {
    // TIOCSTI: a letter as if it had been typed there, for whoever reads the terminal next.
    const type = 'open(T, "+</dev/tty") and ioctl(T, 0x5412, $c = "x") and print "STOLEN"'
    // The processes between stand in the outer of the namespaces.
    const between = `P=${home}; for p in /proc/[0-9]*; do cat "$p/root$P/client.key" "$p/environ"; nsenter -t "\${p#/proc/}" -U -m cat "$P/client.key"; done`
    await writeFile(join(temp, 'terminal.sh'), `perl -e '${type}'; ${between}; echo through\n`)
    const env = { ...settings, PATH: `${path.replace('__', temp)}${process.env.PATH}` }
    const run = startAtTerminal(['exec', ...flags, '--', 'sh', join(temp, 'terminal.sh')], env)
    await run.code
    const said = run.stdout()
    expect(said).toContain('through')
    expect(stolen(said)).toBe(false)
  })

  test.skipIf(unavailable || ownTerminal || lacks('script'))(
    'Ctrl-C is for the command, which ends as it likes',
    async () => {
      await writeFile(
        join(temp, 'ends.sh'),
        "trap 'echo got it; exit 9' INT; echo up; while :; do sleep 0.05; done",
      )
      const env = { ...settings, PATH: `${path.replace('__', temp)}${process.env.PATH}` }
      const run = startAtTerminal(['exec', ...flags, '--', 'sh', join(temp, 'ends.sh')], env)
      await run.seen('up')
      run.type('\u0003')
      expect(await run.code).toBe(9)
      expect(run.stdout()).toContain('got it')
    },
  )

  test.skipIf(unavailable)(
    'a command that fails is not run again, whatever it removes or writes',
    async () => {
      const script =
        'echo ran; rm -f "$HOOP_HOME"/.[!.]*; for f in /proc/[0-9]*/fd/*; do [ -p "$f" ] || (echo >"$f"); done; exit 1'
      expect((await tried(script)).match(/ran/g)).toEqual(['ran'])
    },
  )

  test.skipIf(unavailable)('no file that was open is handed on', async () => {
    const [file, folder] = [handedAt, handedAt + 1].map((number) => `/proc/self/fd/${number}`)
    const said = await tried(`cat ${file}; cat ${folder}/client.key; ls -l /proc/self/fd; echo through`)
    expect(said).toContain('through')
    expect(stolen(said)).toBe(false)
    expect(said).not.toContain(home)
  })

  test.skipIf(unavailable)('the command has its own identity, network, exit code and signals', async () => {
    const said = await tried('cat "$HOOP_HOME/token" | cut -c1-4; env | grep -c GITHUB_ENV; id -u; exit 7')
    // What the next step of the job reads is not for it to write.
    await tried('echo NODE_OPTIONS=--require=/tmp/evil.js >>"$TEMP/github-env"')
    expect(readFileSync(join(temp, 'github-env'), 'utf8')).toBe('')
    expect(said).toContain(`tok.\n0\n${process.getuid?.()}\n`)
    const env = { ...settings, PATH: `${path.replace('__', temp)}${process.env.PATH}` }
    const script = "trap 'echo got it; exit 9' TERM; echo up; while :; do sleep 0.05; done"
    const run = start(['exec', '--sandbox', '--', 'sh', '-c', script], env)
    await run.seen('up')
    run.child.kill('SIGTERM')
    expect(await run.code).toBe(9)
    expect(run.stdout()).toContain('got it')
    const missing = start(['exec', '--sandbox', '--', 'no-such-command-anywhere'], env)
    expect(await missing.code).toBe(127)
    const gateway = `fetch(process.env.HOOP_GATEWAY).catch((e) => console.log(e.cause.code))`
    expect(await tried(`"$NODE" -e '${gateway}'`)).toContain('SELF_SIGNED')
  })

  test.skipIf(unavailable)(
    'several at once, whose folders come and go, do not hinder one another',
    async () => {
      const env = { ...settings, PATH: `${path.replace('__', temp)}${process.env.PATH}` }
      for (let round = 0; round < 3; round++) {
        const runs = Array.from({ length: 6 }, (_, one) => {
          const script = `sleep 0.${one}; echo ran`
          return start(['exec', '--sandbox', '--', 'sh', '-c', script], env)
        })
        for (const run of runs) {
          expect(await run.code, run.stderr()).toBe(0)
          expect(run.stdout()).toBe('ran\n')
        }
      }
    },
  )

  test.skipIf(unavailable)('a folder that goes while it is made does not come back', async () => {
    const [tools, gone] = [join(temp, `vanish-${kind}`), join(temp, `runner/hoop-vanish-${kind}`)]
    await Promise.all([mkdir(tools), mkdir(gone)])
    await writeFile(join(gone, 'identity.json'), '{}')
    const program = kind === 'bubblewrap' ? 'bwrap' : 'unshare'
    const script = `#!/bin/sh\n[ -e '${gone}/identity.json' ] && rm -r '${gone}'\nPATH="\${PATH#*:}" exec ${program} "$@"\n`
    await writeFile(join(tools, program), script, { mode: 0o755 })
    const env = { ...settings, PATH: `${tools}:${path.replace('__', temp)}${process.env.PATH}` }
    const run = start(['exec', '--sandbox', '--', 'echo', 'ran'], env)
    expect(await run.code, run.stderr()).toBe(0)
    expect(run.stdout()).toBe('ran\n')
    expect(existsSync(gone)).toBe(false)
  })

  test.skipIf(unavailable)('nothing of it is left when exec is killed', async () => {
    const mark = `mark${process.pid}${kind}`
    const env = { ...settings, PATH: `${path.replace('__', temp)}${process.env.PATH}` }
    const run = start(['exec', '--sandbox', '--', 'sh', '-c', `echo up; sleep 300; echo ${mark}`], env)
    await run.seen('up')
    run.child.kill('SIGKILL')
    const running = (): boolean => works('pgrep', '-f', mark)
    for (let round = 0; round < 500 && running(); round++) await new Promise((next) => setTimeout(next, 20))
    expect(running()).toBe(false)
  })

  test.skipIf(unavailable || notRoot)('other views of folder and process table give nothing', async () => {
    const [view, table] = [join(temp, 'view'), join(temp, 'table')]
    await Promise.all([mkdir(view, { recursive: true }), mkdir(table, { recursive: true })])
    expect(works('mount', '--bind', join(temp, 'runner'), view)).toBe(true)
    expect(works('mount', '-t', 'proc', 'proc', table)).toBe(true)
    try {
      const script = `cat ${view}/*/client.key | grep -v "$(sed -n 2p "$HOOP_HOME/client.key")"; cat ${table}/[0-9]*/environ | tr '\\0' '\\n' | grep -a parents-id; echo through`
      expect(stolen(await attempt(script, []))).toBe(true)
      const said = await tried(script)
      expect(said).toContain('through')
      expect(stolen(said)).toBe(false)
    } finally {
      works('umount', view)
      works('umount', table)
    }
  })
})

test('where none can be made, the command does not run, and it is said what to change', async () => {
  const bin = join(temp, 'none')
  await mkdir(bin)
  for (const name of ['bwrap', 'unshare']) {
    await writeFile(join(bin, name), `#!/bin/sh\necho "${name}: Operation not permitted" >&2; exit 1\n`)
    await chmod(join(bin, name), 0o755)
  }
  const asked = api.requests.filter((one) => one === 'POST /oauth/token').length
  const run = start(['exec', '--sandbox', '--', 'echo', 'ran'], {
    ...settings,
    PATH: `${bin}:${process.env.PATH}`,
  })
  expect(await run.code).toBe(125)
  expect(run.stdout()).toBe('')
  expect(run.stderr()).toContain('bwrap: Operation not permitted')
  expect(run.stderr()).toContain('without --sandbox')
  expect(api.requests.filter((one) => one === 'POST /oauth/token').length).toBe(asked)
})
