import { type Format, only, prefixed, shaped, uuid } from './bodies.ts'
import { findPairPassword } from './credentials.ts'
import { set } from './scan.ts'

const gitlabKinds = 'pat dt rt rtr cbt ptt ft imt agent oas soat ffct wt'.split(' ')

/** Tokens of code hosts, registries and CI. */
export const codeFormats: readonly Format[] = [
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
    kind: 'npm-token',
    words: ['npm_'],
    verify: only(set.alnum, 36),
  },
  { kind: 'pypi-token', words: ['pypi-AgE'], verify: prefixed({ of: set.url, min: 50, max: 4096 }) },
  {
    kind: 'docker-token',
    words: ['dckr_pat_', 'dckr_oat_'],
    verify: prefixed({ of: set.url, min: 20, max: 255 }),
  },
  {
    kind: 'atlassian-token',
    words: ['ATATT3', 'ATCTT3', 'ATSTT3'],
    verify: prefixed({ of: set.url, min: 50, alone: true }),
  },
  { kind: 'bitbucket-password', words: ['ATBB'], verify: shaped([set.alnum, 32]) },
  {
    kind: 'linear-key',
    words: ['lin_api_', 'lin_oauth_'],
    verify: prefixed({ of: set.alnum, min: 32, max: 64 }),
  },
  { kind: 'postman-key', words: ['PMAK-'], verify: shaped([set.hex, 24], '-', [set.hex, 34]) },
  { kind: 'launchdarkly-key', words: ['sdk-', 'api-'], verify: shaped(...uuid) },
  { kind: 'rubygems-key', words: ['rubygems_'], verify: prefixed({ of: set.hex, min: 48, max: 48 }) },
  {
    kind: 'crates-io-token',
    words: ['cio'],
    verify: prefixed({ of: set.alnum, min: 32, exact: true, alone: true, mixed: true }),
  },
  {
    kind: 'nuget-key',
    words: ['oy2'],
    verify: only(set.lowerDigits, 43),
  },
  {
    kind: 'artifactory-token',
    words: ['AKCp'],
    verify: only(set.alnum, 69),
  },
  // "reftkn:" in base64.
  {
    kind: 'artifactory-token',
    words: ['cmVmdGtuO'],
    verify: only(set.alnum, 55),
  },
  {
    kind: 'buildkite-token',
    words: ['bkua_'],
    verify: prefixed({ of: set.hex, min: 40, max: 40, alone: true }),
  },
  {
    kind: 'circleci-token',
    words: ['CCIPAT_', 'CCIPRJ_'],
    verify: shaped([set.alnum, 22], '_', [set.hex, 40]),
  },
  {
    kind: 'octopus-key',
    words: ['API-'],
    verify: only(set.upper, 26),
  },
  {
    kind: 'sonar-token',
    words: ['sqp_', 'squ_', 'sqa_'],
    verify: only(set.hex, 40),
  },
  { kind: 'snyk-token', words: ['snyk_uat.', 'snyk_sat.'], verify: prefixed({ of: set.dotted, min: 30 }) },
  {
    kind: 'sourcegraph-token',
    words: ['sgp_'],
    verify: prefixed({ of: set.url, min: 40, max: 57, alone: true }),
  },
  {
    kind: 'npm-token',
    words: [':_authtoken=', ':_password=', ':_auth='],
    fold: true,
    verify: findPairPassword,
  },
]
