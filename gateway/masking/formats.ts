import { type Format, named, prefixed } from './bodies.ts'
import {
  findAuthorization,
  findKeywordPassword,
  findNetrcPassword,
  findPairPassword,
  findRegistryLogin,
  findVariable,
} from './credentials.ts'
import { cloudFormats } from './cloud-formats.ts'
import { codeFormats } from './code-formats.ts'
import { serviceFormats } from './service-formats.ts'
import { set } from './scan.ts'
import { encodedKeys, findAuthority, findEncodedKey, findJwt, findPrivateKey } from './structures.ts'

const databases =
  'pg postgres_ mysql_ mysql_root_ mariadb_ mariadb_root_ mssql_sa_ redis_ mongo_initdb_root_'.split(' ')

/** Every format that is looked for; the maker's documentation of each is the source of its prefix and length. */
export const formats: readonly Format[] = [
  ...cloudFormats,
  ...codeFormats,
  ...serviceFormats,
  { kind: 'age-key', words: ['AGE-SECRET-KEY-1'], verify: prefixed({ of: set.upper, min: 58, max: 58 }) },
  { kind: 'age-key', words: ['AGE-SECRET-KEY-PQ-1'], verify: prefixed({ of: set.upper, min: 58 }) },
  {
    kind: 'wireguard-key',
    words: ['privatekey', 'presharedkey'],
    fold: true,
    verify: named({ of: set.base64, min: 43 }),
  },
  // The header of a JWT, in base64 once more: `{"alg":`, `{"typ":`, `{"kid":`.
  {
    kind: 'jwt',
    words: ['ZXlKaGJHY2lP', 'ZXlKMGVYQWlP', 'ZXlKcmFXUWlP'],
    verify: prefixed({ of: set.base64, min: 80, max: 24_576, alone: true }),
  },
  { kind: 'jwt', words: ['eyJ'], verify: findJwt },
  { kind: 'private-key', words: ['-----BEGIN '], verify: findPrivateKey },
  { kind: 'private-key', words: encodedKeys, verify: findEncodedKey },
  { kind: 'url-password', words: ['://', ':\\/\\/'], verify: findAuthority },
  {
    kind: 'password',
    words: [
      ';password=',
      ';pwd=',
      '; password=',
      '; pwd=',
      '?password=',
      '&password=',
      '0026password=',
      '&sslpassword=',
    ],
    fold: true,
    verify: findPairPassword,
  },
  { kind: 'password', words: [' password='], fold: true, verify: findKeywordPassword },
  { kind: 'password', words: databases.map((name) => `${name}password`), fold: true, verify: findVariable },
  { kind: 'password', words: ['machine '], verify: findNetrcPassword },
  { kind: 'authorization', words: ['authorization'], fold: true, verify: findAuthorization },
  { kind: 'registry-login', words: ['"auth"', '"auth\\"'], verify: findRegistryLogin },
]
