import { parse, stringify } from 'yaml'
import { expect, test } from 'vitest'
import { configSchema } from '../../gateway/policy/schema.ts'
import { load, places } from '../policy/fixtures.ts'
import { blocksOf, documents } from './documents.ts'

// What a page gives to copy into hoop.yaml is taken as it stands, without a fault or a warning.

type Part = Readonly<Record<string, unknown>>

const alice = { email: 'alice@acme.example', github: 1, gitlab: 43, jenkins: 'alice', slack: 'U01ABC' }
const platforms = {
  github: {
    platform: 'github',
    url: 'https://token.actions.githubusercontent.com',
    app: { id: 1, private_key: 'x', webhook_secret: 'x' },
  },
  gitlab: { platform: 'gitlab', url: 'https://gitlab.com', token: 'x' },
  jenkins: { platform: 'jenkins', url: 'https://ci.acme.example/oidc', user: 'hoop', token: 'x' },
}
const targets = {
  'orders-db': { type: 'postgres', host: 'db.internal', database: 'shop', user: 'ci', password: 'x' },
  billing: { type: 'http', url: 'https://billing.internal' },
}
const group = { members: ['alice'], gates: [{ console: {} }] }
const groups = { dba: group, sre: group, finance: group }
const subjects = [{ issuer: 'github', claims: { repository_id: '1', environment: 'production' } }]
const grants = [{ connection: 'orders-db', allow: [{ operations: ['read'] }] }]
const around = {
  gateway: { url: 'https://hoop.acme.example:8443', trust_domain: 'acme.example' },
  slack: { token: 'x', signing_secret: 'x' },
  smtp: { url: 'smtps://mail.acme.example', from: 'hoop@acme.example' },
  webhooks: { tickets: { url: 'https://tickets.acme.example/hoop', secret: 'x' } },
  console: { login: { issuer: 'https://idp.acme.example', client_id: 'hoop' } },
}

const ofFile = new Set(Object.keys(configSchema.shape))
const ofGrant = new Set(['allow', 'approve', 'deny'])

const parts = documents.flatMap((page) =>
  blocksOf(page, 'yaml').flatMap((text, index): { what: string; part: Part }[] => {
    const part = parse(text, { logLevel: 'error' }) as Part | null
    const keys = Object.keys(part ?? {})
    const what = `${page}, block ${index + 1}: ${keys.join(', ')}`
    if (part === null || keys.length === 0) return []
    if (keys.every((key) => ofFile.has(key))) return [{ what, part }]
    if (keys.every((key) => ofGrant.has(key))) return [{ what, part: inGrant(part) }]
    if (keys.every((key) => key === 'gates'))
      return [{ what, part: { approvers: { dba: { members: ['alice'], ...part } } } }]
    return []
  }),
)

test('the pages give a lot of it to copy', () => expect(parts.length).toBeGreaterThan(25))

test.each(parts)('$what', ({ part }) => {
  const yaml = stringify('gateway' in part ? part : whole(part))
  const loaded = load(yaml, { secrets: false })
  // The files that it names are the reader's own.
  const found = [...places(loaded), ...places(loaded, 'warnings')].filter(
    (place) => !/ the file \S+ does not exist/.test(place),
  )
  expect(found, yaml).toEqual([])
})

/** Rules alone, in a grant of a connection that they can be of. */
function inGrant(rules: Part): Part {
  const connection = /"(?:body|query)":|WEBSOCKET/.test(JSON.stringify(rules)) ? 'billing' : 'orders-db'
  return { stages: { deploy: { subjects, grants: [{ connection, ...rules }] } } }
}

/** A part of hoop.yaml, with what it takes for granted. */
function whole(part: Part): Part {
  const under = (name: string): Part => (part[name] ?? {}) as Part
  const stages = Object.entries<Part>({ deploy: {}, ...(under('stages') as Record<string, Part>) })
  return {
    ...around,
    ...part,
    // A chapter tells the account that it is about.
    people: { ...under('people'), alice: { ...alice, ...((under('people')['alice'] ?? {}) as Part) } },
    issuers: { ...platforms, ...under('issuers') },
    connections: { ...targets, ...under('connections') },
    approvers: { ...groups, ...under('approvers') },
    stages: Object.fromEntries(stages.map(([name, stage]) => [name, { subjects, grants, ...stage }])),
  }
}
