import { expect, test } from 'vitest'
import { relocate } from '../../gateway/http-relay/locations.ts'

const place = { origin: 'https://api.internal', base: '/base', mount: '/http/api', path: '/v1/items/7' }

test.each([
  ['https://api.internal/base/v1/x?a=1#b', '/http/api/v1/x?a=1#b'],
  ['https://api.internal:443/base', '/http/api'],
  ['//api.internal/base/x', '/http/api/x'],
  ['/base/v1/x', '/http/api/v1/x'],
  ['8', '/http/api/v1/items/8'],
  ['../x', '/http/api/v1/x'],
  ['?page=2', '/http/api/v1/items/7?page=2'],
  ['', '/http/api/v1/items/7'],
  // What leads elsewhere is written out, so that no path is taken for one of the gateway's own.
  ['/oauth/token', 'https://api.internal/oauth/token'],
  ['/basement', 'https://api.internal/basement'],
  ['../../../http/other/x', 'https://api.internal/http/other/x'],
  ['/base/../http/other/x', 'https://api.internal/http/other/x'],
  ['\\\\evil\\x', 'https://evil/x'],
  ['https://elsewhere/base/x', 'https://elsewhere/base/x'],
  ['http://api.internal/base/x', 'http://api.internal/base/x'],
  ['https://api.internal:8443/base/x', 'https://api.internal:8443/base/x'],
  ['https://[', 'about:blank'],
])('%s becomes %s', (uri, expected) => {
  expect(relocate('location', uri, place)).toBe(expected)
})

test('every link of Link, and no other header', () => {
  expect(relocate('link', '</base/x?p=2>; rel="next", <https://e/>; rel=a', place)).toBe(
    '</http/api/x?p=2>; rel="next", <https://e/>; rel=a',
  )
  expect(relocate('x-url', '/base/x', place)).toBe('/base/x')
})
