import {
  type Check,
  type Format,
  awsKey,
  named,
  only,
  prefixed,
  shaped,
  shortNames,
  within,
} from './bodies.ts'
import { set } from './scan.ts'

const azureSecrets = '0123456789'.split('').map((digit) => `${digit}Q~`)

/** The signature of a shared access signature: HMAC-SHA-256 in base64, which a URL escapes. */
const signature: Check = (kind) => (scan, start, end) => {
  const stop = scan.run(end, set.base64 | set.percent, 96)
  const least = scan.follows(stop - 3, '%3D') || scan.follows(stop - 3, '%3d') ? 46 : 43
  const padded = least === 46 || scan.at(stop) === 0x3d
  if (padded && stop - end >= least) scan.add(end, stop, kind)
}

/** Keys and tokens of clouds, and of what runs and watches things in them. */
export const cloudFormats: readonly Format[] = [
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
    kind: 'google-api-key',
    words: ['AIza'],
    verify: only(set.url, 35),
  },
  { kind: 'google-oauth-secret', words: ['GOCSPX-'], verify: prefixed({ of: set.url, min: 28, max: 28 }) },
  {
    kind: 'google-oauth-token',
    words: ['ya29.'],
    verify: prefixed({ of: set.dotted, min: 20, max: 4096, alone: true }),
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
    kind: 'vault-token',
    words: shortNames('vault token'),
    fold: true,
    verify: named({ of: set.dotted, min: 26 }),
  },
  {
    kind: 'azure-storage-key',
    words: ['accountkey', 'sharedaccesskey'],
    fold: true,
    verify: named({ of: set.base64, min: 43, max: 88 }),
  },
  {
    kind: 'doppler-token',
    words: ['dp.pt.', 'dp.st.', 'dp.sa.', 'dp.ct.', 'dp.scim.', 'dp.audit.', 'dp.said.'],
    verify: prefixed({ of: set.dotted, min: 40, max: 255, alone: true }),
  },
  {
    kind: 'azure-client-secret',
    words: azureSecrets,
    verify: within(
      { of: set.dotted | set.tilde, least: 3 },
      { of: set.dotted | set.tilde, min: 31, max: 34 },
    ),
  },
  {
    kind: 'azure-signature',
    words: ['?sig=', '&sig=', ';sig=', '0026sig='],
    verify: signature,
  },
  {
    kind: 'google-oauth-token',
    words: ['1//0'],
    verify: prefixed({ of: set.url, min: 60, max: 512, alone: true }),
  },
  {
    kind: 'databricks-token',
    words: ['dapi', 'dose'],
    verify: only(set.hex, 32),
  },
  {
    kind: 'terraform-token',
    words: ['.atlasv1.'],
    verify: within({ of: set.alnum, least: 14 }, { of: set.url, min: 60, max: 70 }),
  },
  { kind: 'grafana-token', words: ['glsa_'], verify: shaped([set.alnum, 32], '_', [set.hex, 8]) },
  { kind: 'grafana-token', words: ['glc_eyJ', 'eyJrIjoi'], verify: prefixed({ of: set.base64, min: 40 }) },
  { kind: 'sentry-token', words: ['sntrys_eyJ'], verify: prefixed({ of: set.base64 | set.url, min: 60 }) },
  {
    kind: 'sentry-token',
    words: ['sntryu_', 'sntrya_', 'sntryi_'],
    verify: prefixed({ of: set.hex, min: 64, max: 64 }),
  },
  {
    kind: 'new-relic-key',
    words: ['NRAK-', 'NRII-', 'NRIQ-'],
    verify: prefixed({ of: set.url, min: 27, max: 40, alone: true }),
  },
  {
    kind: 'datadog-key',
    words: ['dd', 'datadog'].flatMap((maker) =>
      ['api key', 'app key', 'application key'].flatMap((key) => shortNames(`${maker} ${key}`)),
    ),
    fold: true,
    verify: named({ of: set.hex, min: 32, max: 40 }),
  },
  {
    kind: 'dynatrace-token',
    words: ['dt0c01.', 'dt0s01.', 'dt0s02.'],
    verify: prefixed({ of: set.dotted, min: 80 }),
  },
  {
    kind: 'cloudflare-token',
    words: ['cfk_', 'cfut_', 'cfat_'],
    verify: prefixed({ of: set.alnum, min: 44, max: 64, alone: true }),
  },
  { kind: 'cloudflare-token', words: ['v1.0-'], verify: shaped([set.hex, 24], '-', [set.hex, 146]) },
  {
    kind: 'fastly-token',
    words: [...shortNames('fastly api token'), ...shortNames('fastly api key'), ...shortNames('fastly key')],
    fold: true,
    verify: named({ of: set.url, min: 32 }),
  },
  {
    kind: 'vercel-token',
    words: ['vcp_', 'vci_', 'vca_', 'vcr_', 'vck_'],
    verify: prefixed({ of: set.url, min: 50, max: 64, alone: true }),
  },
  {
    kind: 'netlify-token',
    words: ['nfp_'],
    verify: only(set.alnum, 36),
  },
  { kind: 'heroku-key', words: ['HRKU-AA'], verify: prefixed({ of: set.url, min: 50, max: 64 }) },
  {
    kind: 'fly-token',
    words: ['fo1_'],
    verify: only(set.url, 43),
  },
  {
    kind: 'fly-token',
    words: ['fm1a_', 'fm1r_', 'fm2_'],
    verify: prefixed({ of: set.base64, min: 100, alone: true }),
  },
  {
    kind: 'supabase-key',
    words: ['sbp_', 'sb_secret_'],
    verify: prefixed({ of: set.url, min: 30, max: 64, alone: true }),
  },
  {
    kind: 'planetscale-token',
    words: ['pscale_tkn_', 'pscale_oauth_', 'pscale_pw_'],
    verify: prefixed({ of: set.dotted, min: 32, max: 64 }),
  },
  { kind: 'neon-key', words: ['napi_'], verify: prefixed({ of: set.alnum, min: 48, max: 80, alone: true }) },
  {
    kind: 'confluent-key',
    words: ['cflt'],
    verify: prefixed({ of: set.base64, min: 60, exact: true, alone: true, mixed: true }),
  },
  {
    kind: 'pulumi-token',
    words: ['pul-'],
    verify: only(set.hex, 40),
  },
  {
    kind: 'openshift-token',
    words: ['sha256~'],
    verify: only(set.url, 43),
  },
  { kind: 'tailscale-key', words: ['tskey-'], verify: prefixed({ of: set.url, min: 20, alone: true }) },
  { kind: 'alibaba-access-key', words: ['LTAI5t'], verify: shaped([set.alnum, 18]) },
]
