import { createHash, generateKeyPairSync } from 'node:crypto'

// Made-up secrets in the makers' formats, put together here so that no scanner takes the source for a leak.

const bytes = (seed: string, size: number): Buffer => {
  const blocks: Buffer[] = []
  for (let i = 0; blocks.length * 32 < size; i++)
    blocks.push(createHash('sha256').update(`${seed}/${i}`).digest())
  return Buffer.concat(blocks).subarray(0, size)
}

/** `size` characters of an alphabet, always the same for a seed. */
export function body(seed: string, size: number, alphabet: string): string {
  return [...bytes(seed, size)].map((byte) => alphabet[byte % alphabet.length]).join('')
}

export const alnum = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'
export const url = `${alnum}-_`
export const hex = '0123456789abcdef'
export const base32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'

export const pem = (type: 'rsa' | 'ec'): string => {
  const key =
    type === 'rsa'
      ? generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
      : generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  return key.export({ type: 'pkcs8', format: 'pem' }).toString().trim()
}

const keys = { rsa: '', ec: '' }
/** The same key in base64 once more. */
const encoded = (type: 'rsa' | 'ec'): string => (keys[type] ||= Buffer.from(pem(type)).toString('base64'))

const json = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
export const jwt = `${json({ alg: 'RS256', typ: 'JWT' })}.${json({ sub: 'alice', iat: 1 })}.${body('jwt', 86, url)}`
const jwe = `${json({ alg: 'RSA-OAEP', enc: 'A256GCM' })}.${body('k', 80, url)}.${body('iv', 16, url)}.${body('c', 60, url)}.${body('t', 22, url)}`

const awsSecret = `aB3/${body('aws', 36, alnum)}`
/** Kind, the text around, and the secret in it that must not come out. */
export const secrets: readonly (readonly [kind: string, text: string, secret: string])[] = [
  ...['AKIA', 'ASIA'].map((prefix) => {
    const key = prefix + body(prefix, 16, base32)
    return ['aws-access-key', `key ${key}, region`, key] as const
  }),
  ['aws-secret-key', `aws_secret_access_key = ${awsSecret}\n`, awsSecret],
  ['aws-secret-key', `{"SecretAccessKey":"${awsSecret}"}`, awsSecret],
  ['aws-secret-key', `AWS_SECRET_ACCESS_KEY=${awsSecret}`, awsSecret],
  ['aws-secret-key', `{\\"secretAccessKey\\": \\"${awsSecret}\\"}`, awsSecret],
  ['aws-secret-key', `AKIA${body('x', 16, base32)},${awsSecret}`, awsSecret],
  ...['p', 'o', 's', 'u', 'r'].map((type) => {
    const token = `gh${type}_${body(type, 36, alnum)}`
    return ['github-token', `token: "${token}"`, token] as const
  }),
  [
    'github-token',
    `x github_pat_${body('pat', 22, alnum)}_${body('pat2', 59, alnum)} y`,
    body('pat2', 59, alnum),
  ],
  ...['glpat-', 'gldt-', 'glrt-', 'glcbt-', 'glptt-'].map((prefix) => {
    const token = prefix + body(prefix, 20, alnum)
    return ['gitlab-token', `'${token}'`, token] as const
  }),
  ['gitlab-token', `glpat-${body('r', 27, url)}.01.${body('r2', 9, alnum)}`, body('r', 27, url)],
  ['slack-token', `xoxb-${body('s1', 12, '0123456789')}-${body('s2', 24, alnum)}`, body('s2', 24, alnum)],
  [
    'slack-webhook',
    `https://hooks.slack.com/services/T0${body('t', 8, base32)}/B0${body('b', 8, base32)}/${body('w', 24, alnum)}`,
    body('w', 24, alnum),
  ],
  ['stripe-key', `sk_live_${body('st', 24, alnum)}`, body('st', 24, alnum)],
  ['stripe-key', `rk_live_${body('rk', 24, alnum)}`, body('rk', 24, alnum)],
  ['google-api-key', `?key=AIza${body('g', 35, alnum)}&x=1`, body('g', 35, alnum)],
  ['google-oauth-secret', `GOCSPX-${body('go', 28, url)}`, body('go', 28, url)],
  ['npm-token', `//registry.example/:_authToken=npm_${body('n', 36, alnum)}`, body('n', 36, alnum)],
  ['pypi-token', `pypi-AgEIcHlwaS5vcmc${body('py', 80, url)}`, body('py', 80, url)],
  ['docker-token', `dckr_pat_${body('d', 27, url)}`, body('d', 27, url)],
  ['anthropic-key', `sk-ant-api03-${body('an', 93, url)}AA`, body('an', 93, url)],
  ['openai-key', `sk-proj-${body('op', 48, alnum)}`, body('op', 48, alnum)],
  ['openai-key', `sk-${body('o1', 20, alnum)}T3BlbkFJ${body('o2', 20, alnum)}`, body('o2', 20, alnum)],
  ['sendgrid-key', `SG.${body('sg', 22, url)}.${body('sg2', 43, url)}`, body('sg2', 43, url)],
  ['twilio-key', `sid=SK${body('tw', 32, hex)};`, body('tw', 32, hex)],
  ['twilio-token', `TWILIO_AUTH_TOKEN=${body('ta', 32, hex)}`, body('ta', 32, hex)],
  ['digitalocean-token', `dop_v1_${body('do', 64, hex)}`, body('do', 64, hex)],
  ['vault-token', `VAULT_TOKEN=hvs.${body('v', 90, url)}`, body('v', 90, url)],
  [
    'azure-storage-key',
    `AccountName=acme;AccountKey=${bytes('az', 64).toString('base64')};Suffix=x`,
    bytes('az', 64).toString('base64').slice(0, 80),
  ],
  ['jwt', `Authorization: Bearer ${jwt}`, jwt],
  ['jwt', `{"token":"${jwe}"}`, jwe],
  ['private-key', `before\n${pem('rsa')}\nafter`, 'MII'],
  ['private-key', JSON.stringify({ private_key: pem('ec') }), 'MIG'],
  ['private-key', pem('rsa').replaceAll('\n', ' '), 'MII'],
  ['private-key', pem('rsa').replaceAll('PRIVATE', 'OPENSSH PRIVATE'), 'MII'],
  ['private-key', pem('rsa').slice(0, 600), 'MII'],
  ['private-key', `    client-key-data: ${encoded('ec')}\n    username: me`, encoded('ec').slice(60)],
  ['private-key', JSON.stringify({ data: { 'tls.key': encoded('rsa') } }), encoded('rsa').slice(60)],
  ['private-key', encoded('rsa').replaceAll(/.{76}/g, '$&\n'), encoded('rsa').slice(152, 228)],
  [
    'private-key',
    JSON.stringify(encoded('rsa').replaceAll(/.{64}/g, '  $&\r\n')),
    encoded('rsa').slice(128, 192),
  ],
  ['url-password', 'postgres://ci:s3cr3t-Pa55@db.internal/shop', 's3cr3t-Pa55'],
  ['url-password', 'redis://:s3cr3tpass@cache:6379', 's3cr3tpass'],
  ['url-password', '{"url":"https:\\/\\/bob:p%40ssw0rd@example.com\\/x"}', 'p%40ssw0rd'],
  ['url-password', 'amqp://u:pa@ss:word@h', 'pa@ss:word'],
  ['card', 'pay with 4111 1111 1111 1111 today', '4111 1111 1111 1111'],
  ['card', '5555555555554444', '5555555555554444'],
  ['card', '7|378282246310005|x', '378282246310005'],
  ['card', 'amex 3782-822463-10005', '3782-822463-10005'],
  ['card', '1 6011 1111 1111 1117 2027', '6011 1111 1111 1117'],
  ['card', '"3530111333300000"', '3530111333300000'],
  ['card', '30569309025904', '30569309025904'],
  ['card', '{"pan":"2223-0031-2200-3222"}', '2223-0031-2200-3222'],
]
