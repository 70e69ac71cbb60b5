import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { compilePolicy } from '../../gateway/policy/compile.ts'
import { execRequest } from '../../gateway/protocols/ssh/requests.ts'
import { subjects } from '../flows/gateway-stack.ts'
import { type SshJob, type SshStack, startSshStack } from '../flows/ssh-stack.ts'
import { config } from '../policy/fixtures.ts'
import { lacks } from '../servers/programs.ts'

const stages = `
  test:
    ${subjects}
    grants:
      - connection: web-1
        allow: [{ operations: [exec], commands: ["systemctl restart shop", "journalctl -u shop -n *", "echo *"] }]
`

/** Ways to make a host run more than a rule's words. */
const evasions = [
  'systemctl restart shop; id',
  'systemctl restart shop;id',
  'systemctl restart shop && id',
  'systemctl restart shop || id',
  'systemctl restart shop | sh',
  'systemctl restart shop |& sh',
  'systemctl restart shop & id',
  'systemctl restart shop &',
  'systemctl restart shop\nid',
  'systemctl restart shop\r\nid',
  'systemctl restart shop\rid',
  '\nsystemctl restart shop',
  'systemctl restart shop\n',
  'systemctl restart $(id)',
  'systemctl restart `id`',
  'systemctl restart "$(id)"',
  'systemctl restart "`id`"',
  'systemctl restart shop > /etc/passwd',
  'systemctl restart shop >> /etc/passwd',
  'systemctl restart shop < /etc/shadow',
  'systemctl restart shop 2>&1',
  'systemctl restart shop >(id)',
  'systemctl restart <(id)',
  'systemctl restart shop <<< x',
  'systemctl restart shop <<EOF\nid\nEOF',
  'echo $IFS',
  'echo ${HOME}',
  'echo $HOME',
  'echo "$HOME"',
  'echo $((1+1))',
  'echo *',
  'echo /etc/*',
  'echo ?',
  'echo [a-z]',
  'echo {a,b}',
  'echo ~root',
  'echo ~',
  'echo !!',
  'echo "!x"',
  'echo x #comment',
  'echo x ^y^z',
  '=ls x',
  'echo =ls',
  'echo %self',
  'X=y systemctl restart shop',
  'LD_PRELOAD=/tmp/x.so echo x',
  'PATH=/tmp echo x',
  'env X=y systemctl restart shop',
  'bash -c "systemctl restart shop"',
  'sh -c id',
  'eval echo x',
  'exec echo x',
  'command echo x',
  'builtin echo x',
  'time echo x',
  '! echo x',
  '{ echo x; }',
  '(echo x)',
  'if echo x',
  'function echo x',
  'coproc echo x',
  '. echo x',
  'echo x\u0000; id',
  'echo x\u2028id',
  'echo\u00a0x',
  'echo \u001b[2J',
  "echo 'unended",
  'echo "unended',
  'echo x\\',
  'echo \\\nx',
  "echo $'\\x41'",
  'echo $"x"',
  "echo 'a\\'b",
  'echo \\n',
  'echo "\\x"',
  'echo x;',
  'echo x ;; id',
  "e''cho $(id)",
  'echo Y3VybCBldmls | base64 -d | sh',
  'systemctl restart shop evil',
  'systemctl restart',
  'systemctl --host=evil restart shop',
  'journalctl -u shop -n --file=/etc/shadow',
  'journalctl -u shop -n 5 --root=/',
  'SYSTEMCTL restart shop',
  '/tmp/systemctl restart shop',
  './systemctl restart shop',
  '',
  ' ',
  'echo ' + 'x'.repeat(20_000),
  'echo x\ufffd',
]

describe('a command that a rule does not name', () => {
  const policy = compilePolicy(
    config({
      stages: {
        test: {
          grants: [
            {
              connection: 'box',
              allow: [
                {
                  operations: ['exec'],
                  commands: ['systemctl restart shop', 'journalctl -u shop -n *', 'echo *'],
                },
              ],
            },
          ],
        },
      },
    }),
  )
  const levels = policy.levels([{ stage: 'test', narrowed: null }], 'box')

  test('there are at least sixty, and the plain ones are allowed', () => {
    expect(evasions.length).toBeGreaterThan(60)
    for (const command of [
      'systemctl restart shop',
      'systemctl \'restart\' "shop"',
      'journalctl -u shop -n 50',
      'echo x',
    ])
      expect(policy.decide(levels, execRequest(command).meaning.operations).effect).toBe('allow')
  })

  test.each(evasions.map((command) => [command.slice(0, 80), command]))(
    '%j is refused',
    (_shown, command) => {
      expect(policy.decide(levels, execRequest(command).meaning.operations).effect).toBe('deny')
    },
  )
})

describe.skipIf(lacks('ssh', 'sshd'))('on the wire', () => {
  let stack: SshStack
  let job: SshJob
  beforeAll(async () => {
    stack = await startSshStack({ stages })
    job = await stack.open('test')
  })
  afterAll(() => stack.close())

  test.each([
    'echo x; touch PROOF',
    'echo $(touch PROOF)',
    'echo x\ntouch PROOF',
    'echo x > PROOF',
    'X=y echo x',
    'echo x & touch PROOF',
    'echo `touch PROOF`',
  ])('%j reaches no host, and is in the record', async (command) => {
    const ran = await job.ssh('web-1', command.replace('PROOF', `${stack.folder}/proof`))
    expect(ran.code).toBe(126)
    expect(ran.err).toMatch(/^hoop-access: [^\n]*\n$/)
    expect(stack.sshd.log()).not.toContain('proof')
    expect(stack.sshd.log()).not.toContain('X=y')
    expect((await stack.records('request')).at(-1)).toMatchObject({ effect: 'deny' })
  })
})
