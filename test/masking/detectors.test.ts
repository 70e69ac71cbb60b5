import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { createDetectors } from '../../gateway/masking/detectors.ts'
import { body, alnum, jwt, pem, secrets } from './secrets.ts'

const own = 'Tr0ub4dor&3 + "staple"'
const detectors = createDetectors({ default: true, literals: [own, 'short'] })

describe('secrets are found', () => {
  test.each(secrets)('%s (%#)', (kind, text, secret) => {
    const found: string[] = []
    const shown = detectors.redactText(text, (name) => found.push(name))
    expect(found).toContain(kind)
    expect(shown).toContain(`[redacted:${kind}]`)
    expect(shown).not.toContain(secret)
  })

  test.each(secrets)('%s at any offset, next to other bytes (%#)', (kind, text, secret) => {
    for (let offset = 0; offset < 16; offset++) {
      const bytes = Buffer.concat([Buffer.alloc(offset, 0), Buffer.from(text), Buffer.alloc(offset % 3, 0)])
      const shown = Buffer.from(detectors.redact(bytes) ?? []).toString('latin1')
      expect(shown).toContain(kind)
      expect(shown).not.toContain(secret)
    }
  })

  test('what stands around a secret stays as it was, byte for byte', () => {
    const key = `AKIA${body('k', 16, 'ABCDEFGH')}`
    const around = Buffer.from([0xff, 0x00, 0xc3, 0x28])
    const shown = detectors.redact(Buffer.concat([around, Buffer.from(` ${key} `), around]))
    expect(Buffer.from(shown ?? [])).toEqual(
      Buffer.concat([around, Buffer.from(' [redacted:aws-access-key] '), around]),
    )
  })

  test('the name of a URL and its host stay', () => {
    expect(detectors.redactText('psql postgres://ci:hunter22@db:5432/shop?x=1')).toBe(
      'psql postgres://ci:[redacted:url-password]@db:5432/shop?x=1',
    )
  })

  test('several in one value, and one behind an escape', () => {
    const token = `ghp_${body('a', 36, alnum)}`
    expect(detectors.redactText(`${token} ${jwt}\n${token}`)).toBe(
      '[redacted:github-token] [redacted:jwt]\n[redacted:github-token]',
    )
    expect(detectors.redactText(JSON.stringify(`a\n${jwt}`))).toBe('"a\\n[redacted:jwt]"')
  })

  test('a private key in base64 is gone with its lines, and what stands beside it stays', () => {
    const key = Buffer.from(pem('rsa')).toString('base64')
    const beside = (text: string): string => `client-key-data: ${text}\n    username: me\n`
    expect(detectors.redactText(beside(key))).toBe(beside('[redacted:private-key]'))
    expect(detectors.redactText(key.replaceAll(/.{76}/g, '$&\n'))).toBe('[redacted:private-key]')
    const certificate = Buffer.from('-----BEGIN CERTIFICATE-----\nMIIB').toString('base64').repeat(9)
    expect(detectors.redactText(certificate)).toBe(certificate)
  })

  test('a private key is gone with its frame', () => {
    expect(detectors.redactText(`a\n${pem('rsa')}\nb`)).toBe('a\n[redacted:private-key]\nb')
    expect(detectors.redactText(`"${pem('rsa').replaceAll('\n', '\\n')}\\n"`)).toBe(
      '"[redacted:private-key]\\n"',
    )
  })
})

describe("the gateway's own secrets are found", () => {
  const forms: Record<string, string> = {
    plain: own,
    json: JSON.stringify(own),
    hex: Buffer.from(own).toString('hex'),
    HEX: Buffer.from(own).toString('hex').toUpperCase(),
    url: encodeURIComponent(own),
    form: new URLSearchParams({ password: own }).toString().replace('password=', ''),
    base64: Buffer.from(own).toString('base64'),
    'base64, one byte on': Buffer.from(`a${own}b`).toString('base64'),
    'base64, two bytes on': Buffer.from(`ci:${own}`).toString('base64'),
    base64url: Buffer.from(own).toString('base64url'),
    'base64 of base64': Buffer.from(`x:${Buffer.from(`ci:${own}`).toString('base64')}`).toString('base64'),
    'upper case': own.toUpperCase(),
    'lower case': own.toLowerCase(),
    reversed: Array.from(own).reverse().join(''),
    'JSON within JSON': JSON.stringify(JSON.stringify({ own })),
    'JSON as Go writes it': '"Tr0ub4dor\\u00263 + \\"staple\\""',
    'JSON as PHP writes it': '"Tr0ub4dor\\u00263 + \\u0022staple\\u0022"',
    'JSON, every character escaped': Array.from(own)
      .map((one) => `\\u00${one.charCodeAt(0).toString(16)}`)
      .join(''),
    'every byte in percent': Array.from(own)
      .map((one) => `%${one.charCodeAt(0).toString(16)}`)
      .join(''),
    'a URL within a URL': encodeURIComponent(encodeURIComponent(own)),
    'a form within a URL': encodeURIComponent(encodeURIComponent(own).replaceAll('%20', '+')),
    HTML: own.replaceAll('&', '&amp;').replaceAll('"', '&quot;'),
    'HTML as Python writes it': own.replaceAll('&', '&amp;').replaceAll('"', '&#34;'),
    'HTML by number': Array.from(own)
      .map((one) => `&#${one.charCodeAt(0)};`)
      .join(''),
    'HTML by hexadecimal number': Array.from(own)
      .map((one) => `&#X${one.charCodeAt(0).toString(16).toUpperCase()};`)
      .join(''),
    CSV: `"${own.replaceAll('"', '""')}"`,
    'a shell': own.replaceAll(/[ &"]/g, '\\$&'),
    'hex by pairs': Buffer.from(own)
      .toString('hex')
      .replaceAll(/..(?=.)/g, '$& '),
    'hex with colons': Buffer.from(own)
      .toString('hex')
      .toUpperCase()
      .replaceAll(/..(?=.)/g, '$&:'),
    'hex as xxd writes it': Buffer.from(own)
      .toString('hex')
      .replaceAll(/.{4}(?=.)/g, '$& '),
    'hex as xxd writes it, one byte on': Buffer.from(`a${own}`)
      .toString('hex')
      .replaceAll(/.{4}(?=.)/g, '$& '),
    'hex as C has it': Array.from(own)
      .map((one) => `\\x${one.charCodeAt(0).toString(16)}`)
      .join(''),
    octal: Array.from(own)
      .map((one) => `\\${one.charCodeAt(0).toString(8).padStart(3, '0')}`)
      .join(''),
    'quoted-printable': Array.from(own)
      .map((one) => `=${one.charCodeAt(0).toString(16).toUpperCase()}`)
      .join(''),
    'UTF-16': Buffer.from(own, 'utf16le').toString('latin1'),
    'UTF-16, big end first': Buffer.from(own, 'utf16le').swap16().toString('latin1'),
    'base64 of UTF-16': Buffer.from(`x ${own}`, 'utf16le').toString('base64'),
    'hex of UTF-16': Buffer.from(own, 'utf16le').toString('hex'),
  }
  test.each(Object.entries(forms))('as %s', (_form, text) => {
    expect(detectors.redactText(`x ${text} y`)).toContain('[redacted:gateway-secret]')
  })

  test.each(Object.entries(forms))('as %s, cut at any byte', (_form, text) => {
    const only = createDetectors({ default: false, literals: [own] })
    const bytes = Buffer.from(`<${text}>`)
    const whole = Buffer.from(only.redact(bytes) ?? []).toString()
    expect(whole).toContain('[redacted:gateway-secret]')
    for (let cut = 0; cut < bytes.length; cut++) {
      const stream = only.createStream()
      const out = [stream.push(bytes.subarray(0, cut)), stream.push(bytes.subarray(cut)), stream.end()]
      expect(Buffer.concat(out).toString()).toBe(whole)
    }
  })

  const made: Record<string, readonly [literal: string, shown: string]> = {
    'the token behind a scheme': ['Bearer b1ll1ng-t0ken', 'b1ll1ng-t0ken'],
    'the password of Basic': [`Basic ${Buffer.from('ci:correct-h0rse').toString('base64')}`, 'correct-h0rse'],
    'the pair of Basic': [`Basic ${Buffer.from('ci:correct-h0rse').toString('base64')}`, 'ci:correct-h0rse'],
    'the password of a URL': ['postgres://ci:correct%2Dh0rse@db/shop', 'correct-h0rse'],
    'the password of a URL as it stands there': ['postgres://ci:correct%2Dh0rse@db/shop', 'correct%2dh0rse'],
    'a cookie': ['theme=dark; session=correct-h0rse', 'correct-h0rse'],
    'a line of a private key': [pem('rsa'), ''],
  }
  test.each(Object.entries(made))('%s, by itself', (_what, [literal, shown]) => {
    const only = createDetectors({ default: false, literals: [literal] })
    expect(only.redactText(`x ${shown === '' ? literal.split('\n')[3] : shown} y`)).toBe(
      'x [redacted:gateway-secret] y',
    )
  })

  test('also with the known formats off, and then nothing else', () => {
    const only = createDetectors({ default: false, literals: [own] })
    expect(only.redactText(`${own} 4111 1111 1111 1111 ${jwt}`)).toBe(
      `[redacted:gateway-secret] 4111 1111 1111 1111 ${jwt}`,
    )
  })

  test('not when they are so short that they would be found everywhere', () => {
    expect(detectors.redact(Buffer.from('a short text'))).toBeNull()
  })

  test('two thousand of them', () => {
    const many = Array.from({ length: 2000 }, () => randomBytes(12).toString('hex'))
    const finder = createDetectors({ default: true, literals: many })
    for (const secret of many) expect(finder.redactText(`(${secret})`)).toBe('([redacted:gateway-secret])')
  })
})

describe('what is no secret stays', () => {
  const sha = (i: number): string => createHash('sha1').update(String(i)).digest('hex')
  const clean: Record<string, string> = {
    UUIDs: Array.from({ length: 20_000 }, () => randomUUID()).join('\n'),
    'UUIDs of digits': Array.from({ length: 20_000 }, () => randomUUID().replaceAll(/[a-f]/g, '4')).join(' '),
    'commit ids': Array.from({ length: 20_000 }, (_, i) => `commit ${sha(i)}`).join('\n'),
    'an image in base64': `data:image/png;base64,${randomBytes(300_000).toString('base64')}`,
    'timestamps and counters': Array.from(
      { length: 50_000 },
      (_, i) => `${1_700_000_000_000 + i * 977}\t${i}\t2026-03-01 12:00:00.${i}`,
    ).join('\n'),
    'decimal fractions': Array.from({ length: 20_000 }, (_, i) => `0.${4_111_111_111_111_111 + i * 37}`).join(
      ' ',
    ),
    emails: Array.from(
      { length: 20_000 },
      (_, i) => `"user${i}@example.com","http://a${i}.example:8080,b@c.example"`,
    ).join('\n'),
    'a dump': Array.from(
      { length: 5000 },
      (_, i) =>
        `INSERT INTO public.orders (id, email, total) VALUES (${i}, 'a${i}@b.example', ${i}.50); -- https://shop.example/orders/${i}`,
    ).join('\n'),
    prose:
      'Lorem ipsum dolor sit amet. The task-force asks: keep the ghp_ prefix, use sk-learn and npm_config_registry, see -----BEGIN CERTIFICATE----- or AKIA. '.repeat(
        500,
      ),
    'names of secrets':
      'aws_secret_access_key = ${SECRET}\nsession token: none\nauth_token="" password=x postgres://$USER:$PASSWORD@db http://u:***@h http://u:{password}@h',
    'a public certificate': `-----BEGIN CERTIFICATE-----\n${randomBytes(900).toString('base64')}\n-----END CERTIFICATE-----`,
    'a public key':
      '-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----',
    'talk of a key': 'starts with -----BEGIN PRIVATE KEY----- and so on; that is PEM',
    'package locks': Array.from(
      { length: 3000 },
      (_, i) => `"integrity": "sha512-${createHash('sha512').update(String(i)).digest('base64')}"`,
    ).join('\n'),
    'a list of numbers': Array.from({ length: 20_000 }, (_, i) => 4000 + ((i * 31) % 1000)).join(' '),
    'beginnings of tokens':
      'glsa_ dapi pul-request secret_key re_export_all_of_the_things API-KEY sk_buff xai-api sha256~ cio r8_ A3-size sdk-tools api-gateway ntn_ 1//0 ;sig=0 figd_ AKCp oy2 cio-engine nfp_ :AA 8Q~ v1.0-beta npm_config',
    'documentation of passwords':
      'POSTGRES_PASSWORD: This variable is required. Use ?password={password} or &password=$PASSWORD; host=db password=${DB_PASSWORD}; user=%s password=%s Authorization: Bearer YOUR_ACCESS_TOKEN Authorization: Basic base64(user:password) "auth": "oauth2" authorization: negotiate machine HOST login NAME password $PASSWORD //r/:_authToken=${NPM_TOKEN} the machine learns to login and the password is next',
    'cache keys and images': Array.from(
      { length: 5000 },
      (_, i) =>
        `cache-key-${sha(i).slice(0, 32)} registry/app@sha256:${createHash('sha256').update(String(i)).digest('hex')} sdk-${sha(i).slice(0, 12)} api-${sha(i).slice(0, 8)}`,
    ).join('\n'),
    'bank accounts': 'DE89370400440532013000 GB82WEST12345698765432 FR1420041010050500013M02606',
    'phone numbers': Array.from({ length: 5000 }, (_, i) => `+49 171 ${1_000_000 + i * 17}`).join(' '),
  }
  test.each(Object.entries(clean))('%s', (_name, text) => {
    const found: string[] = []
    detectors.redactText(text, (kind) => found.push(kind))
    expect(found).toEqual([])
  })

  test('wrong check digits and wrong lengths are no cards', () => {
    for (const text of [
      '4111 1111 1111 1112',
      '41111111111111111',
      '4111111111111',
      '4111-1111-1111 1111',
      'x4111111111111111',
      '4444444444444448a',
    ]) {
      expect(detectors.redact(Buffer.from(text)), text).toBeNull()
    }
  })

  test('few random numbers pass for cards', () => {
    let found = 0
    const numbers = Array.from({ length: 20_000 }, (_, i) =>
      BigInt(`0x${createHash('sha256').update(`n${i}`).digest('hex').slice(0, 14)}`)
        .toString()
        .padStart(16, '1')
        .slice(0, 16),
    )
    detectors.redactText(numbers.join('\n'), () => found++)
    expect(found / numbers.length).toBeLessThan(0.05)
  })
})

describe('a stream', () => {
  const text = secrets.map(([, line]) => line).join('\n\n| and |\n')
  const whole = Buffer.from(detectors.redactText(text))

  test.each([1, 2, 3, 7, 64, 1000, 100_000])('in pieces of %i bytes comes out as the whole does', (size) => {
    const stream = detectors.createStream()
    const out: Uint8Array[] = []
    const bytes = Buffer.from(text)
    for (let at = 0; at < bytes.length; at += size) out.push(stream.push(bytes.subarray(at, at + size)))
    out.push(stream.end())
    expect(Buffer.concat(out).toString()).toBe(whole.toString())
  })

  test('cut at any byte, and at any two, comes out as the whole does', () => {
    for (const [kind, text] of secrets) {
      const bytes = Buffer.from(`| ${text} |`)
      const expected = Buffer.from(detectors.redact(bytes) ?? bytes).toString('latin1')
      const pieces = (...cuts: number[]): string => {
        const stream = detectors.createStream()
        let from = 0
        let out = ''
        for (const cut of [...cuts, bytes.length]) {
          out += Buffer.from(stream.push(bytes.subarray(from, cut))).toString('latin1')
          from = cut
        }
        return out + Buffer.from(stream.end()).toString('latin1')
      }
      for (let one = 0; one < bytes.length; one++) {
        if (pieces(one) !== expected) expect(pieces(one), `${kind} cut at ${one}`).toBe(expected)
        // Of long ones every pair near the ends, where words and separators are.
        for (let two = one + 1; two < bytes.length; two += one < 60 && two < 110 ? 1 : 37)
          if (pieces(one, two) !== expected)
            expect(pieces(one, two), `${kind} cut at ${one} and ${two}`).toBe(expected)
      }
    }
  }, 300_000)

  test('lets plain text through at once, and holds no more than 64 KiB', () => {
    const stream = detectors.createStream()
    expect(Buffer.from(stream.push(Buffer.from('hello, is it you?\n'))).toString()).toBe(
      'hello, is it you?\n',
    )
    let given = 0
    let taken = 0
    for (let i = 0; i < 500; i++) {
      const chunk = Buffer.from('eyJ'.repeat(1000))
      given += chunk.length
      taken += stream.push(chunk).length
      expect(given - taken).toBeLessThanOrEqual(65_536 + chunk.length)
    }
  })

  test('does not keep a view of what it was given', () => {
    const stream = detectors.createStream()
    const chunk = Buffer.from('a ghp_0123')
    stream.push(chunk)
    chunk.fill(0)
    expect(Buffer.from(stream.end()).toString()).toBe('ghp_0123')
  })
})
