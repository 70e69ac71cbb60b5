import { expect, test } from 'vitest'
import { readTarget } from '../../gateway/http-relay/target.ts'

test.each([
  ['/http/api', '/', ''],
  ['/http/api/', '/', ''],
  ['/http/api?x=1', '/', '?x=1'],
  ['/http/api/v1/a', '/v1/a', ''],
  ['/http/api/v1/a/', '/v1/a/', ''],
  ['/http/api/%76%31/%41', '/v1/A', ''],
  ['/http/api/@scope/x', '/@scope/x', ''],
  ['/http/api/%40scope', '/@scope', ''],
  ['/http/api/@scope%2fx', '/@scope/x', ''],
  ['/http/api/npm/%40scope%2Fx/-/x-1.0.0.tgz', '/npm/@scope/x/-/x-1.0.0.tgz', ''],
  ['/http/api/a%20b', '/a%20b', ''],
  ['/http/api/%c3%a9', '/%C3%A9', ''],
  ['/http/api/100%25', '/100%25', ''],
  ['/http/api/a?p=../..%2f//%00', '/a', '?p=../..%2f//%00'],
])('%s is read as %s', (text, path, query) => {
  expect(readTarget(text, '/http')).toEqual({ connection: 'api', path, query })
})

test('what is sent is read as the same again', () => {
  for (const text of ['/a%20b', '/%c3%a9', '/%76', '/100%25', '/!$&*()']) {
    const { path } = readTarget(`/http/api${text}`, '/http')
    expect(readTarget(`/http/api${path}`, '/http').path).toBe(path)
  }
})

test.each([
  '/@a%2f..',
  '/@a%2f%2e%2e',
  '/@..%2fx',
  '/@a%2fb%2fc',
  '/@%2fx',
  '/@a%2f',
  '/a@b%2fc',
  '/@a%5cb',
  '/@a%252fb',
])('a scope is no way around: %s is refused, or two plain segments', (path) => {
  const read = (): string => readTarget(`/http/api${path}`, '/http').path
  if (path === '/@..%2fx') expect(read()).toBe('/@../x')
  else expect(read).toThrow('cannot be read in one way')
})
