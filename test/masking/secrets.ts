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
const basic = Buffer.from('ci:s3cr3t-Pa55').toString('base64')
const id = (seed: string): string =>
  body(seed, 32, hex).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
const upperDigits = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ'
const lowerDigits = '0123456789abcdefghijklmnopqrstuvwxyz'
/** Kind, what stands before the secret's body, the body, and what stands behind it. */
const shapes: readonly (readonly [kind: string, before: string, secret: string, behind?: string])[] = [
  ['github-token', 'github_pat_11', body('fp', 20, alnum) + '_' + body('fp2', 59, alnum)],
  ...['rtr', 'ft', 'imt', 'agent', 'oas', 'soat', 'ffct', 'wt'].map(
    (type) => ['gitlab-token', `gl${type}-`, body(type, 25, url)] as const,
  ),
  ['gitlab-token', 'glrt-t1_', `${body('gr', 27, url)}.01.${body('gr2', 9, lowerDigits)}`],
  ['slack-token', 'xoxe.xoxp-1-', body('xe', 163, alnum)],
  ['slack-token', 'xoxe-1-', body('xr', 146, alnum)],
  ['slack-token', 'xapp-1-A0', body('xa', 60, alnum)],
  ['slack-token', 'xoxc-', `${body('xc', 12, '123456789')}-${body('xc2', 40, hex)}`],
  ['atlassian-token', 'ATCTT3', body('at', 186, url)],
  ['bitbucket-password', 'ATBB', body('bb', 32, alnum)],
  ['linear-key', 'lin_oauth_', body('lo', 64, hex)],
  ['age-key', 'AGE-SECRET-KEY-1', body('age', 58, upperDigits)],
  ['age-key', 'AGE-SECRET-KEY-PQ-1', body('agepq', 90, upperDigits)],
  ['azure-client-secret', 'secret=abc', `8Q~${body('ad', 34, alnum)}`],
  [
    'azure-signature',
    'https://a.blob.core.windows.net/c?sv=2024-11-04&sig=',
    `${body('sig', 43, alnum)}%3D`,
    '&se=1',
  ],
  ['azure-signature', '?sig=', `${body('sig2', 43, alnum)}=`],
  ['google-oauth-token', '1//0', body('refresh', 100, url)],
  ['databricks-token', 'dapi', body('db', 32, hex), '-2'],
  ['terraform-token', `${body('tf', 14, alnum)}.atlasv1.`, body('tf2', 67, alnum)],
  ['telegram-token', '1234567890:AA', body('tg', 33, url)],
  ['discord-webhook', 'https://discord.com/api/webhooks/', `1234567890123456789/${body('dw', 68, url)}`],
  [
    'discord-token',
    'DISCORD_TOKEN=',
    `${body('di', 26, alnum)}.${body('di2', 6, alnum)}.${body('di3', 38, alnum)}`,
  ],
  ['teams-webhook', '/IncomingWebhook/', `${body('tw', 32, hex)}/${id('tw2')}`],
  ['grafana-token', 'glsa_', `${body('gs', 32, alnum)}_${body('gs2', 8, hex)}`],
  ['grafana-token', 'glc_eyJ', body('gc', 100, alnum)],
  ['sentry-token', 'sntrys_eyJ', `${body('sn', 80, alnum)}_${body('sn2', 43, alnum)}`],
  ['sentry-token', 'sntryu_', body('su', 64, hex)],
  ['new-relic-key', 'NRAK-', body('nr', 27, upperDigits)],
  ['datadog-key', 'DD_API_KEY=', body('dd', 32, hex)],
  ['dynatrace-token', 'dt0c01.', `${body('dt', 24, upperDigits)}.${body('dt2', 64, upperDigits)}`],
  ['cloudflare-token', 'cfut_', body('cf', 48, alnum)],
  ['cloudflare-token', 'v1.0-', `${body('ca', 24, hex)}-${body('ca2', 146, hex)}`],
  ['fastly-token', 'FASTLY_API_TOKEN="', body('fa', 32, alnum), '"'],
  ['vercel-token', 'vcp_', body('vc', 56, alnum)],
  ['netlify-token', 'nfp_', body('nf', 36, alnum)],
  ['heroku-key', 'HRKU-AA', body('hk', 58, url)],
  ['fly-token', 'fo1_', body('fo', 43, alnum)],
  ['fly-token', 'FlyV1 fm2_', body('fm', 200, alnum)],
  ['supabase-key', 'sbp_', body('sb', 40, hex)],
  ['supabase-key', 'sb_secret_', body('ss', 31, url)],
  ['planetscale-token', 'pscale_pw_', body('ps', 43, url)],
  ['neon-key', 'napi_', body('ne', 64, lowerDigits)],
  ['confluent-key', 'cflt', body('co', 60, alnum)],
  ['pulumi-token', 'pul-', body('pu', 40, hex)],
  ['postman-key', 'PMAK-', `${body('pm', 24, hex)}-${body('pm2', 34, hex)}`],
  ['figma-token', 'figd_', body('fi', 43, url)],
  ['notion-token', 'ntn_', body('nt', 11, '0123456789') + body('nt2', 35, alnum)],
  ['notion-token', 'secret_', body('ns', 43, alnum)],
  ['square-token', 'sq0csp-', body('sq', 43, url)],
  ['braintree-token', 'access_token$production$', `${body('br', 16, lowerDigits)}$${body('br2', 32, hex)}`],
  ['plaid-token', 'access-production-', id('plaid')],
  ['mailgun-key', 'MAILGUN_API_KEY=', `key-${body('mg', 32, lowerDigits)}`],
  ['brevo-key', 'xkeysib-', `${body('br', 64, hex)}-${body('br2', 16, alnum)}`],
  ['resend-key', 're_', `${body('re', 8, alnum)}_${body('re2', 24, alnum)}`],
  ['hubspot-token', 'pat-na1-', id('hubspot')],
  ['mapbox-token', 'sk.eyJ', `${body('mb', 60, alnum)}.${body('mb2', 22, url)}`],
  ['okta-token', 'Authorization: SSWS 00', body('ok', 40, alnum)],
  ['launchdarkly-key', 'sdk-', id('launch')],
  ['rubygems-key', 'rubygems_', body('rb', 48, hex)],
  ['crates-io-token', 'cio', body('ci', 32, alnum)],
  ['nuget-key', 'oy2', body('nu', 43, lowerDigits)],
  ['artifactory-token', 'AKCp', body('ak', 69, alnum)],
  ['artifactory-token', 'cmVmdGtuO', body('rt', 55, alnum)],
  ['buildkite-token', 'bkua_', body('bk', 40, hex)],
  ['circleci-token', 'CCIPAT_', `${body('cc', 22, alnum)}_${body('cc2', 40, hex)}`],
  ['octopus-key', 'API-', body('oc', 26, upperDigits)],
  ['sonar-token', 'squ_', body('so', 40, hex)],
  ['snyk-token', 'snyk_uat.', `${body('sy', 8, hex)}.${body('sy2', 60, url)}`],
  ['sourcegraph-token', 'sgp_', `${body('sg', 16, hex)}_${body('sg2', 40, hex)}`],
  ['openshift-token', 'sha256~', body('os', 43, alnum)],
  ['tailscale-key', 'tskey-auth-', `${body('ts', 17, alnum)}-${body('ts2', 32, alnum)}`],
  ['1password-token', 'ops_eyJ', body('op', 300, alnum)],
  ['1password-key', 'A3-', [6, 6, 5, 5, 5, 5].map((size) => body(`1p${size}`, size, base32)).join('-')],
  ['alibaba-access-key', 'LTAI5t', body('al', 18, alnum)],
  ['groq-key', 'gsk_', body('gq', 52, alnum)],
  ['xai-key', 'xai-', body('xi', 80, alnum)],
  ['perplexity-key', 'pplx-', body('pp', 48, alnum)],
  ['replicate-token', 'r8_', body('r8', 37, alnum)],
  ['nvidia-key', 'nvapi-', body('nv', 64, url)],
  ['elevenlabs-key', 'sk_', body('el', 48, hex)],
  ['langsmith-key', 'lsv2_pt_', `${body('ls', 32, hex)}_${body('ls2', 10, hex)}`],
  ['pinecone-key', 'pcsk_', `${body('pc', 6, alnum)}_${body('pc2', 63, alnum)}`],
  ['hugging-face-token', 'hf_', body('hf', 34, alnum)],
  ['openrouter-key', 'sk-or-v1-', body('or', 64, hex)],
  ['shopify-token', 'shpat_', body('sh', 32, hex)],
  ['doppler-token', 'dp.scim.', body('dp', 43, alnum)],
  ['wireguard-key', 'PrivateKey = ', `${body('wg', 43, alnum)}`, '='],
  ['vault-token', 'VAULT_TOKEN=', `s.${body('vt', 24, alnum)}`],
  ['jwt', 'token: ', Buffer.from(jwt).toString('base64')],
  ['password', 'Server=db;User Id=ci;Password=', 's3cr3t-Pa55', ';Encrypt=true'],
  ['password', 'Data Source=db; User ID=sa; pwd=', 's3cr3t,Pa55', '"'],
  ['password', 'jdbc:postgresql://db/shop?user=ci&password=', 's3cr3t-Pa55', '&ssl=true'],
  [
    'password',
    JSON.stringify('jdbc:mysql://db/shop?user=ci').slice(0, -1) + '\\u0026password=',
    's3cr3t-Pa55',
    '"',
  ],
  ['password', 'host=db user=ci password=', 's3cr3t-Pa55', ' dbname=shop'],
  ['password', 'PGPASSWORD=', 's3cr3t-Pa55', ' psql'],
  ['password', '"POSTGRES_PASSWORD": "', 's3cr3t-Pa55', '",'],
  ['password', 'machine db.internal\n  login ci\n  password ', 's3cr3t-Pa55', '\n'],
  ['npm-token', '//registry.example/:_authToken=', id('npmrc')],
  ['authorization', 'authorization: Basic ', basic],
  ['authorization', '{"Authorization":"Bearer ', body('be', 40, alnum), '"}'],
  ['authorization', "curl -H 'Authorization: token ", body('tk', 40, hex), "'"],
  ['registry-login', '{"auths":{"registry.example":{"auth":"', basic, '"}}}'],
]
const further = shapes.map(
  ([kind, before, secret, behind = '']) => [kind, `${before}${secret}${behind}`, secret] as const,
)

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
  ['jwt', `ID_TOKEN=${jwt}`, jwt],
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
  ...further,
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
