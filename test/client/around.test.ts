import { expect, test } from 'vitest'
import { leadingAround, pointedElsewhere } from '../../client/around.ts'
import type { Card } from '../../client/home.ts'
import { environmentOf, filesOf } from '../../client/settings.ts'
import { rewriteConnectionString } from '../../client/rewrite.ts'
import { ordersDb } from '../fakes/gateway-api.ts'

const files = filesOf('/h')
const prod = {
  name: 'prod',
  type: 'kubernetes',
  host: 'hoop.example',
  port: 8443,
  url: 'https://hoop.example:8443/k8s/prod',
} as const
const reports = { ...ordersDb, name: 'reports', host: 'hoop.example', port: 8443 }
const orders = { ...ordersDb, host: 'hoop.example', port: 8443 }
const url = 'https://hoop.example:8443/http/billing'
const billing = { name: 'billing', type: 'http', host: 'hoop.example', port: 8443, url } as const
const card: Card = {
  gateway: 'https://hoop.example:8443',
  token_type: 'DPoP',
  identity: {
    id: 'idn_1',
    stage: 'test',
    chain: [],
    binding: 'required',
    expires_at: '2026-01-01T00:00:00Z',
    renewable_until: '2026-01-01T00:00:00Z',
    connections: [orders, reports, billing, prod],
  },
  rewrites: { DATABASE_URL: 'orders-db', REPORTS_URL: 'reports', BILLING_URL: 'billing' },
}
const good = {
  DATABASE_URL: rewriteConnectionString('', orders, files),
  REPORTS_URL: rewriteConnectionString('host=db', reports, files),
  BILLING_URL: url,
  PGHOST: 'hoop.example',
  PGSERVICEFILE: '/h/pg_service.conf',
  KUBECONFIG: '/h/kubeconfig',
}

test('with one database PGHOST is among the settings, and a service that was named is ours', () => {
  const one = { ...card, identity: { ...card.identity, connections: [orders] }, rewrites: {} }
  expect(pointedElsewhere({ PGHOST: 'hoop.example' }, one, '/h')).toEqual([])
  expect(pointedElsewhere({ PGHOST: 'db.internal' }, one, '/h')).toEqual(['PGHOST'])
  expect(pointedElsewhere({ PGPORT: '8443', PGSERVICE: 'orders-db' }, one, '/h')).toEqual([])
  expect(pointedElsewhere({ PGPORT: '5432' }, one, '/h')).toEqual(['PGPORT'])
  expect(environmentOf('/h', one, { current: { PGSERVICE: 'raw' } }).PGSERVICE).toBe('orders-db')
  expect(environmentOf('/h', one, { current: {} }).PGSERVICE).toBeUndefined()
})

test('nothing is said of variables that lead where they should, of several connections of one kind', () => {
  expect(leadingAround(good, card, '/h')).toEqual([])
  expect(pointedElsewhere({}, card, '/h')).toEqual([])
  expect(pointedElsewhere({ DATABASE_URL: '' }, card, '/h')).toEqual([])
})

test.for([
  ['DATABASE_URL', 'postgres://ci:pw@db.internal/shop'],
  ['DATABASE_URL', 'jdbc:postgresql://db.internal/shop'],
  ['DATABASE_URL', good.REPORTS_URL],
  ['REPORTS_URL', 'host=db.internal dbname=shop'],
  ['BILLING_URL', 'https://billing.internal'],
  ['KUBECONFIG', '/root/.kube/config'],
  ['KUBECONFIG', '/h/kubeconfig:/root/.kube/config'],
  ['PGSERVICEFILE', '/root/.pg_service.conf'],
  ['PGHOSTADDR', '10.0.0.1'],
  ['PGSERVICE', 'of-the-system'],
] as const)('%s = %s is said', ([name, value]) => {
  expect(pointedElsewhere({ ...good, [name]: value }, card, '/h')).toEqual([name])
  expect(leadingAround({ ...good, [name]: value }, card, '/h')).toEqual([name])
})

test.for([
  ['PGHOST', 'db.internal'],
  ['PGHOSTADDR', '10.0.0.1'],
  ['OTHER_URL', 'postgresql://ci@db.internal/shop'],
  ['OTHER_URL', 'jdbc:postgresql://db.internal:5432/shop'],
  ['OTHER_DSN', "dbname=shop user=ci host='db.internal' port=5432"],
] as const)('%s = %s, which nobody named, is found by doctor', ([name, value]) => {
  expect(leadingAround({ ...good, [name]: value }, card, '/h')).toEqual([name])
})

test.for(['https://example.com/host=1', 'a host=b', 'postgres', 'npm_config_user_agent=x user=1'])(
  '%s is no connection string',
  (value) => {
    expect(leadingAround({ ...good, OTHER: value }, card, '/h')).toEqual([])
  },
)
