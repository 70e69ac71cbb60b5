import { describe, expect, test } from 'vitest'
import { readJson } from '../../gateway/core/json.ts'
import type { Operation } from '../../gateway/core/operation.ts'
import { compilePolicy } from '../../gateway/policy/compile.ts'
import { explain, renderExplanation } from '../../gateway/policy/explain.ts'
import { readQuery } from '../../gateway/protocols/http/query.ts'
import { config, decide } from './fixtures.ts'

type Rules = Record<string, readonly Record<string, unknown>[]>
const policyOf = (rules: Rules) =>
  compilePolicy(config({ stages: { deploy: { grants: [{ connection: 'api', ...rules }] } } }))

const post = (more: Partial<Operation>): Operation => ({
  actions: ['POST'],
  resource: '/v1/x',
  reads: false,
  query: readQuery(''),
  body: 'empty',
  ...more,
})
const effect = (rules: Rules, more: Partial<Operation>): string =>
  decide(policyOf(rules), ['deploy'], [post(more)], { connection: 'api' }).effect

const json = (text: string) => readJson(Buffer.from(text))

describe('a query', () => {
  const allow: Rules = { allow: [{ operations: ['POST'], query: { mode: 'dry' } }] }
  const deny: Rules = {
    allow: [{ operations: ['*'] }],
    deny: [{ operations: ['*'], query: { mode: 'wet' } }],
  }

  test.each([
    ['?mode=dry', 'allow'],
    ['?other=1&mode=dry', 'allow'],
    ['?m%6fde=dr%79', 'allow'],
    ['', 'deny'],
    ['?mode=wet', 'deny'],
    ['?mode=dry&mode=dry', 'deny'],
    ['?mode=dry&mode=wet', 'deny'],
    ['?mode=dry&Mode=wet', 'deny'],
    ['?mode=dry&mode[]=wet', 'deny'],
    ['?Mode=dry', 'deny'],
    ['?mode=dry;mode=wet', 'deny'],
    ['?mode=dry&x=%ff', 'deny'],
    ['?mode=dr%2579', 'deny'],
    ['?mode=dry&m%256fde=wet', 'deny'],
  ])('an allow rule has to be met without doubt: %s is %s', (query, expected) => {
    expect(effect(allow, { query: readQuery(query) })).toBe(expected)
  })

  test.each([
    ['', 'allow'],
    ['?mode=dry', 'allow'],
    ['?amode=wet', 'allow'],
    ['?mode=wet', 'deny'],
    ['?mode=dry&mode=wet', 'deny'],
    ['?MODE=wet', 'deny'],
    ['?mode[]=wet', 'deny'],
    ['?mode[0]=wet', 'deny'],
    ['?%EF%BD%8Dode=wet', 'deny'],
    ['?m%6fde=we%74', 'deny'],
    ['?mode=we%2574', 'deny'],
    ['?a=1;mode=wet', 'deny'],
    ['?mode=%ff', 'deny'],
  ])('a deny rule is met by what may meet it: %s is %s', (query, expected) => {
    expect(effect(deny, { query: readQuery(query) })).toBe(expected)
  })

  test('a plus may be a space', () => {
    const spaced: Rules = {
      allow: [{ operations: ['POST'] }],
      deny: [{ operations: ['*'], query: { q: 'a b' } }],
    }
    expect(effect(spaced, { query: readQuery('?q=a+b') })).toBe('deny')
    const plus: Rules = { allow: [{ operations: ['POST'], query: { q: 'a+b' } }] }
    expect(effect(plus, { query: readQuery('?q=a+b') })).toBe('deny')
    expect(effect(plus, { query: readQuery('?q=a%2Bb') })).toBe('allow')
  })
})

describe('a body', () => {
  const allow: Rules = {
    allow: [{ operations: ['POST'], body: { '$.items[*].kind': 'soft', '$.amount': '5' } }],
  }
  const deny: Rules = {
    allow: [{ operations: ['*'] }],
    deny: [{ operations: ['*'], body: { '$..role': 'admin' } }],
  }

  test.each([
    ['{"items":[{"kind":"soft"},{"kind":"s\\u006fft"}],"amount":5}', 'allow'],
    ['{"items":[{"kind":"soft"}],"amount":"5"}', 'allow'],
    ['{"items":[],"amount":5}', 'deny'],
    ['{"items":[{"kind":"soft"}]}', 'deny'],
    ['{"items":[{"kind":"soft"},{"kind":"hard"}],"amount":5}', 'deny'],
    ['{"items":[{"kind":["soft"]}],"amount":5}', 'deny'],
    ['{"items":[{"kind":"soft"}],"amount":5.0}', 'deny'],
    ['{"items":[{"kind":"soft"}],"amount":5,"amount":500}', 'deny'],
    ['{"items":[{"kind":"soft"}],"amount":5,"am\\u006funt":500}', 'deny'],
    ['{"items":[{"kind":"soft"}],"amount":5,"Amount":500}', 'deny'],
    ['{"items":[{"kind":"soft"}],"amount":5,"ａmount":500}', 'deny'],
    ['{"items":[{"kind":"soft"}],"amount":5} {}', 'deny'],
    ['{"items":[{"kind":"soft"}],"amount":5,}', 'deny'],
    ['{"items":[{"kind":"soft"}],"amount":5,"x":"\\ud800"}', 'deny'],
    ['{"items":[{"kind":"soft"}],"amount":5,"amount\\u0000":500}', 'deny'],
    ['\ufeff{"items":[{"kind":"soft"}],"amount":5}', 'deny'],
    [`{"items":[{"kind":"soft"}],"amount":5,"x":${'['.repeat(80)}${']'.repeat(80)}}`, 'deny'],
  ])('an allow rule has to be met without doubt: %s is %s', (body, expected) => {
    expect(effect(allow, { body: json(body) })).toBe(expected)
  })

  test.each([
    ['{}', 'allow'],
    ['{"role":"user"}', 'allow'],
    ['{"role":"admin"}', 'deny'],
    ['{"a":[{"role":"admin"}]}', 'deny'],
    ['{"Role":"admin"}', 'deny'],
    ['{"r\\u006fle":"adm\\u0069n"}', 'deny'],
    ['{"role":["admin"]}', 'deny'],
    ['{"role":{"name":"admin"}}', 'deny'],
    ['{"role":"user","role":"admin"}', 'deny'],
    ["{'role':'admin'}", 'deny'],
    ['role=admin', 'deny'],
  ])('a deny rule is met by what may meet it: %s is %s', (body, expected) => {
    expect(effect(deny, { body: json(body) })).toBe(expected)
  })

  test('numbers are compared as written and as they are read', () => {
    const rules: Rules = {
      allow: [{ operations: ['*'] }],
      deny: [{ operations: ['*'], body: { '$.n': '100' } }],
    }
    for (const n of ['100', '1e2', '100.0', '"100"'])
      expect(effect(rules, { body: json(`{"n":${n}}`) })).toBe('deny')
    expect(effect(rules, { body: json('{"n":101}') })).toBe('allow')
  })

  test('what was not read meets deny rules and no allow rule', () => {
    const { body: _, ...unread } = post({})
    const judge = (rules: Rules): string =>
      decide(policyOf(rules), ['deploy'], [unread], { connection: 'api' }).effect
    expect(judge(deny)).toBe('deny')
    expect(judge(allow)).toBe('deny')
    expect(effect(deny, { body: 'empty' })).toBe('allow')
  })

  test('whether a body has to be read is known before it is', () => {
    const policy = policyOf({
      allow: [{ operations: ['*'] }],
      deny: [{ operations: ['POST'], resources: ['/v1/*'], query: { a: 'b' }, body: { '$.x': '*' } }],
    })
    const levels = policy.levels([{ stage: 'deploy', narrowed: null }], 'api')
    const { body: _, ...unread } = post({ query: readQuery('?a=b') })
    expect(policy.looksIntoBody(levels, [unread])).toBe(true)
    expect(policy.looksIntoBody(levels, [{ ...unread, query: readQuery('?a=c') }])).toBe(false)
    expect(policy.looksIntoBody(levels, [{ ...unread, resource: '/v2' }])).toBe(false)
    expect(policy.looksIntoBody(levels, [{ ...unread, actions: ['GET', 'read'] }])).toBe(false)
    expect(policy.looksIntoBody(levels, [{ ...unread, body: null }])).toBe(false)
  })
})

test('an explanation says which condition kept a rule out', () => {
  const policy = policyOf({
    allow: [
      { operations: ['POST'], query: { mode: 'dry' } },
      { operations: ['POST'], body: { '$.mode': 'dry' } },
    ],
  })
  const explanation = explain(policy, { stages: ['deploy'], connection: 'api', operations: [post({})] })
  const text = renderExplanation(explanation)
  expect(text).toContain('no: another query  (POST with query mode: "dry")')
  expect(text).toContain('no: another body  (POST with body $.mode: "dry")')
})
