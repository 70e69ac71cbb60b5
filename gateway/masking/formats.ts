import { encodedKeys, findAuthority, findEncodedKey, findJwt, findPrivateKey } from './structures.ts'
import { type Scan, set } from './scan.ts'
import type { Verify } from './keywords.ts'

/** A kind of secret: the words it is found by, and the check of what stands there. */
export interface Format {
  readonly kind: string
  readonly words: readonly string[]
  readonly fold?: boolean
  /** Reports the span of the secret as this kind's index. */
  readonly verify: (kind: number) => Verify
}

interface Body {
  readonly of: number
  readonly min: number
  /** At most this long; the rest of a longer run is left. */
  readonly max?: number
  /** Exactly `min` long: a longer run is something else. */
  readonly exact?: boolean
  /** Nothing of a word may stand before the keyword: for short words that come up inside others. */
  readonly alone?: boolean
}

/** A keyword that is the secret's own beginning, and a body of some set of bytes. */
function prefixed({ of, min, max = 1024, exact = false, alone = false }: Body): Format['verify'] {
  return (kind) => (scan, start, end) => {
    if (alone && !scan.starts(start)) return
    const stop = trimmed(scan, end, scan.run(end, of, exact ? min + 1 : max))
    if (stop - end < min || (exact && (stop - end !== min || scan.is(stop, set.alnum)))) return
    scan.add(start, stop, kind)
  }
}

/** Without the full stop or hyphens that end a sentence rather than a token. */
function trimmed(scan: Scan, from: number, to: number): number {
  let end = to
  while (end > from && scan.at(end - 1) === 0x2e) end--
  return end
}

/** A secret that only its name gives away: `name: "…"`, `name=…`, and the like. */
function named({ of, min, max = min }: { of: number; min: number; max?: number }): Format['verify'] {
  return (kind) => (scan, _start, end) => {
    const from = afterSeparator(scan, end)
    if (from !== end) value(scan, from, of, min, max, kind)
  }
}

/** What may stand between a name and its value: at least one of these, at most twelve. */
function afterSeparator(scan: Scan, end: number): number {
  let from = end
  while (from - end < 12 && scan.is(from, set.separator)) from++
  return from
}

/** A run of min to max such bytes that looks random: upper case, lower case and digits, or hexadecimal. */
function value(scan: Scan, from: number, of: number, min: number, max: number, kind: number): void {
  const to = scan.run(from, of, max + 1)
  if (to - from < min || to - from > max || scan.is(to, set.alnum)) return
  let seen = 0
  for (let i = from; i < to; i++) {
    const byte = scan.at(i)
    seen |= byte >= 0x61 ? 1 : byte >= 0x41 ? 2 : byte >= 0x30 && byte <= 0x39 ? 4 : 0
  }
  if (seen === 7 || (of === set.hex && seen === 5)) scan.add(from, to, kind)
}

const awsKey: Format['verify'] = (kind) => (scan, start, end) => {
  if (!scan.starts(start)) return
  const stop = scan.run(end, set.upper, 17)
  if (stop - end !== 16 || scan.is(stop, set.base64)) return
  scan.add(start, stop, kind)
  // The secret often stands right behind: `AKIA…,SECRET` in credential files and rows.
  const from = afterSeparator(scan, stop)
  if (from !== stop) value(scan, from, set.base64, 40, 40, kind + 1)
}

/** OpenAI's first form: sk-, 20, T3BlbkFJ, 20. */
const openai: Format['verify'] = (kind) => (scan, start, end) => {
  if (!scan.starts(start) || scan.run(end, set.alnum, 20) - end !== 20 || !scan.follows(end + 20, 'T3BlbkFJ'))
    return
  const stop = scan.run(end + 28, set.alnum, 128)
  if (stop - end >= 48) scan.add(start, stop, kind)
}

/** SendGrid: `SG.`, 22, `.`, 43. */
const sendgrid: Format['verify'] = (kind) => (scan, start, end) => {
  if (!scan.starts(start) || scan.run(end, set.url, 23) - end !== 22 || scan.at(end + 22) !== 0x2e) return
  if (scan.run(end + 23, set.url, 44) - end - 23 === 43) scan.add(start, end + 66, kind)
}

const shortNames = (name: string): string[] => ['_', '-', ''].map((joint) => name.replaceAll(' ', joint))
const twilioKeys = '0123456789abcdef'.split('').map((digit) => `SK${digit}`)
const gitlabKinds = 'pat dt rt rtr cbt ptt ft imt agent oas soat ffct wt'.split(' ')

/** Every format that is looked for; the maker's documentation of each is the source of its prefix and length. */
export const formats: readonly Format[] = [
  { kind: 'aws-access-key', words: ['AKIA', 'ASIA', 'ABIA', 'ACCA'], verify: awsKey },
  {
    kind: 'aws-secret-key',
    words: [...shortNames('secret access key'), ...shortNames('aws secret key')],
    fold: true,
    verify: named({ of: set.base64, min: 40 }),
  },
  {
    kind: 'aws-session-token',
    words: shortNames('session token'),
    fold: true,
    verify: named({ of: set.base64, min: 100, max: 4096 }),
  },
  {
    kind: 'github-token',
    words: ['ghp_', 'gho_', 'ghu_', 'ghr_'],
    verify: prefixed({ of: set.alnum, min: 36, max: 255 }),
  },
  { kind: 'github-token', words: ['ghs_'], verify: prefixed({ of: set.dotted, min: 36 }) },
  { kind: 'github-token', words: ['github_pat_'], verify: prefixed({ of: set.url, min: 36, max: 255 }) },
  {
    kind: 'gitlab-token',
    words: gitlabKinds.map((kind) => `gl${kind}-`),
    verify: prefixed({ of: set.dotted, min: 20 }),
  },
  { kind: 'gitlab-token', words: ['GR1348941'], verify: prefixed({ of: set.url, min: 20 }) },
  {
    kind: 'slack-token',
    words: 'abeoprs'.split('').map((kind) => `xox${kind}-`),
    verify: prefixed({ of: set.url, min: 12 }),
  },
  { kind: 'slack-token', words: ['xapp-', 'xoxe.xox'], verify: prefixed({ of: set.dotted, min: 20 }) },
  {
    kind: 'slack-webhook',
    words: ['hooks.slack.com/services/', 'hooks.slack.com/workflows/', 'hooks.slack.com/triggers/'],
    verify: prefixed({ of: set.base64, min: 20, max: 255 }),
  },
  {
    kind: 'stripe-key',
    words: ['sk_live_', 'rk_live_', 'sk_test_', 'rk_test_'],
    verify: prefixed({ of: set.alnum, min: 16, max: 255 }),
  },
  { kind: 'stripe-key', words: ['whsec_'], verify: prefixed({ of: set.base64, min: 24, max: 255 }) },
  {
    kind: 'google-api-key',
    words: ['AIza'],
    verify: prefixed({ of: set.url, min: 35, exact: true, alone: true }),
  },
  { kind: 'google-oauth-secret', words: ['GOCSPX-'], verify: prefixed({ of: set.url, min: 28, max: 28 }) },
  {
    kind: 'google-oauth-token',
    words: ['ya29.'],
    verify: prefixed({ of: set.dotted, min: 20, max: 4096, alone: true }),
  },
  {
    kind: 'npm-token',
    words: ['npm_'],
    verify: prefixed({ of: set.alnum, min: 36, exact: true, alone: true }),
  },
  { kind: 'pypi-token', words: ['pypi-AgE'], verify: prefixed({ of: set.url, min: 50, max: 4096 }) },
  {
    kind: 'docker-token',
    words: ['dckr_pat_', 'dckr_oat_'],
    verify: prefixed({ of: set.url, min: 20, max: 255 }),
  },
  { kind: 'anthropic-key', words: ['sk-ant-'], verify: prefixed({ of: set.url, min: 20 }) },
  {
    kind: 'openai-key',
    words: ['sk-proj-', 'sk-svcacct-', 'sk-admin-'],
    verify: prefixed({ of: set.url, min: 20 }),
  },
  { kind: 'openai-key', words: ['sk-'], verify: openai },
  { kind: 'openrouter-key', words: ['sk-or-v1-'], verify: prefixed({ of: set.hex, min: 64, max: 64 }) },
  {
    kind: 'hugging-face-token',
    words: ['hf_'],
    verify: prefixed({ of: set.alnum, min: 34, exact: true, alone: true }),
  },
  { kind: 'sendgrid-key', words: ['SG.'], verify: sendgrid },
  {
    kind: 'twilio-key',
    words: twilioKeys,
    verify: prefixed({ of: set.hex, min: 31, exact: true, alone: true }),
  },
  {
    kind: 'twilio-token',
    words: shortNames('auth token'),
    fold: true,
    verify: named({ of: set.hex, min: 32 }),
  },
  {
    kind: 'digitalocean-token',
    words: ['dop_v1_', 'doo_v1_', 'dor_v1_'],
    verify: prefixed({ of: set.hex, min: 64, max: 64 }),
  },
  {
    kind: 'vault-token',
    words: ['hvs.', 'hvb.', 'hvr.'],
    verify: prefixed({ of: set.url, min: 24, alone: true }),
  },
  {
    kind: 'azure-storage-key',
    words: ['accountkey', 'sharedaccesskey'],
    fold: true,
    verify: named({ of: set.base64, min: 43, max: 88 }),
  },
  {
    kind: 'shopify-token',
    words: ['shpat_', 'shpss_', 'shpca_', 'shppa_'],
    verify: prefixed({ of: set.hex, min: 32, max: 64 }),
  },
  { kind: 'atlassian-token', words: ['ATATT3'], verify: prefixed({ of: set.url, min: 50, alone: true }) },
  {
    kind: 'doppler-token',
    words: ['dp.pt.', 'dp.st.', 'dp.sa.'],
    verify: prefixed({ of: set.dotted, min: 40, max: 255, alone: true }),
  },
  { kind: 'linear-key', words: ['lin_api_'], verify: prefixed({ of: set.alnum, min: 32, max: 64 }) },
  { kind: 'age-key', words: ['AGE-SECRET-KEY-1'], verify: prefixed({ of: set.upper, min: 58, max: 58 }) },
  { kind: 'jwt', words: ['eyJ'], verify: findJwt },
  { kind: 'private-key', words: ['-----BEGIN '], verify: findPrivateKey },
  { kind: 'private-key', words: encodedKeys, verify: findEncodedKey },
  { kind: 'url-password', words: ['://', ':\\/\\/'], verify: findAuthority },
]
