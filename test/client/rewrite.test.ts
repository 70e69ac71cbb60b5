import { describe, expect, test } from 'vitest'
import { leadsTo, rewriteConnectionString } from '../../client/rewrite.ts'
import { ordersDb } from '../fakes/gateway-api.ts'

const files = { ca: '/h/ca.pem', certificate: '/h/client.crt', key: '/h/client.key', pk8: '/h/client.pk8' }
const connection = { ...ordersDb, host: 'hoop.example', port: 8443 }
const tls = 'sslmode=verify-full&sslrootcert=/h/ca.pem&sslcert=/h/client.crt&sslkey=/h/client.key'
const rewrite = (current: string | undefined): string => rewriteConnectionString(current, connection, files)

describe('a connection string', () => {
  test.for([
    [undefined, `postgresql://orders-db@hoop.example:8443/shop?${tls}`],
    ['', `postgresql://orders-db@hoop.example:8443/shop?${tls}`],
    ['postgres://ci:pw@db.internal/shop', `postgres://orders-db@hoop.example:8443/shop?${tls}`],
    [
      'postgresql://db1:1,db2:2/archive?target_session_attrs=any',
      `postgresql://orders-db@hoop.example:8443/archive?${tls}&target_session_attrs=any`,
    ],
    ['postgresql+psycopg://u:p@db/other', `postgresql+psycopg://orders-db@hoop.example:8443/shop?${tls}`],
    [
      'postgres://u@db/shop?options=-c%20search_path%3Dapp',
      `postgres://orders-db@hoop.example:8443/shop?${tls}&options=-c%20search_path%3Dapp`,
    ],
    [
      'jdbc:postgresql://db:5432/shop?user=ci&password=pw&ApplicationName=etl&sslfactory=evil',
      'jdbc:postgresql://hoop.example:8443/shop?user=orders-db&sslmode=verify-full&sslrootcert=/h/ca.pem&sslcert=/h/client.crt&sslkey=/h/client.pk8&ApplicationName=etl',
    ],
    ['jdbc:postgresql:archive', /^jdbc:postgresql:\/\/hoop\.example:8443\/archive\?user=orders-db&/],
    [
      "host=db password='p w' dbname=archive application_name='it\\'s me'",
      "host=hoop.example port=8443 dbname=archive user=orders-db sslmode=verify-full sslrootcert=/h/ca.pem sslcert=/h/client.crt sslkey=/h/client.key application_name='it\\'s me'",
    ],
  ] as const)('%s', ([current, wanted]) => {
    if (typeof wanted === 'string') expect(rewrite(current)).toBe(wanted)
    else expect(rewrite(current)).toMatch(wanted)
  })

  test.for([
    'postgres://ci:s3cret@db.internal:5433/shop?sslmode=disable&sslpassword=s3cret&passfile=/s3cret&hostaddr=10.0.0.1&service=raw',
    'postgres://ci:s3cret/with?slash&x@db.internal/shop?password=s3cret&host=db.internal',
    'jdbc:postgresql://db.internal/shop?password=s3cret&socketFactory=s3cret&sslmode=disable&loggerFile=/s3cret',
    "host=db.internal hostaddr=10.0.0.1 password='s3cret' sslmode=disable passfile=/s3cret service=raw",
  ])('nothing of the old target and no secret is left of %s', (current) => {
    const rewritten = rewrite(current)
    expect(rewritten).not.toMatch(/s3cret|db\.internal|10\.0\.0\.1|disable|raw|socketfactory/i)
    expect(rewritten).toContain('verify-full')
  })

  test('an IPv6 host is written in brackets where URLs want them', () => {
    const target = { ...connection, host: '::1' }
    expect(rewriteConnectionString('postgres://db/shop', target, files)).toContain('@[::1]:8443/')
    expect(rewriteConnectionString('host=db', target, files)).toMatch(/^host=::1 port=8443/)
  })

  test('one of another kind is refused without being shown', () => {
    expect(() => rewrite('mysql://root:s3cret@db/shop')).toThrow(/no PostgreSQL connection string/)
    expect(() => rewrite('mysql://root:s3cret@db/shop')).not.toThrow(/s3cret/)
  })

  test('only PostgreSQL connections can be led to', () => {
    expect(() => rewriteConnectionString('', { ...connection, type: 'ssh' }, files)).toThrow(/of type ssh/)
  })
})

describe('a URL of an API', () => {
  const url = 'https://hoop.example:8443/http/billing'
  const billing = { name: 'billing', type: 'http', host: 'hoop.example', port: 8443, url } as const

  test.for([
    [undefined, url],
    ['', url],
    ['https://billing.internal', url],
    ['https://billing.internal/', url],
    ['http://billing.internal:8080/v1/', `${url}/v1`],
    ['https://ci:s3cret@billing.internal/v1?key=s3cret#x', `${url}/v1`],
    [url, url],
    [`${url}/v1`, `${url}/v1`],
  ] as const)('%s', ([current, wanted]) => {
    expect(rewriteConnectionString(current, billing, files)).toBe(wanted)
  })

  test.for(['billing.internal', 'postgres://db/shop', 'javascript:alert(1)'])('%s is refused', (current) => {
    expect(() => rewriteConnectionString(current, billing, files)).toThrow(/holds no URL/)
  })

  test.for([
    [url, true],
    [`${url}/v1/invoices`, true],
    ['https://billing.internal/v1', false],
    ['https://hoop.example:8443/http/billing-evil', false],
    ['https://hoop.example:8443.evil.example/http/billing', false],
    ['', false],
    [undefined, false],
  ] as const)('%s leads there: %s', ([value, leads]) => {
    expect(leadsTo(value, billing, files)).toBe(leads)
  })
})

describe('a connection string leads through the gateway', () => {
  const there = rewrite('postgres://db/shop')
  test.for([
    [there, true],
    [rewrite('jdbc:postgresql://db/archive'), true],
    [rewrite('host=db dbname=shop'), true],
    [`${there}&application_name=mine&connect_timeout=5`, true],
    ['postgres://ci:pw@db.internal/shop', false],
    [there.replace('hoop.example:8443', 'db.internal:5432'), false],
    [there.replace('hoop.example:8443', 'hoop.example:8443,db.internal:5432'), false],
    [there.replace('verify-full', 'disable'), false],
    [`${there}&host=db.internal`, false],
    [`${there}&hostaddr=10.0.0.1`, false],
    [`${there}&service=raw`, false],
    [`${rewrite('host=db dbname=shop')} hostaddr=10.0.0.1`, false],
    [rewrite('jdbc:postgresql://db/shop').replace('8443', '5432'), false],
    ['mysql://db/shop', false],
    ['', false],
  ] as const)('%s: %s', ([value, leads]) => {
    expect(leadsTo(value, connection, files)).toBe(leads)
  })
})
