import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { jsonSchema, renderSchema, schemaFile } from '../../gateway/policy/json-schema.ts'

test('docs/hoop.schema.json is up to date', () => {
  expect(
    readFileSync(schemaFile, 'utf8') === renderSchema(),
    'write it anew with: node gateway/policy/json-schema.ts',
  ).toBe(true)
})

test('it is draft 2020-12, named, and describes what an editor shows', () => {
  const schema = jsonSchema()
  expect(schema).toMatchObject({
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $id: 'urn:hoop-access:hoop.yaml',
    title: 'hoop.yaml',
    type: 'object',
    additionalProperties: false,
    required: ['gateway'],
  })
  const bare: string[] = []
  const look = (node: unknown, path: string): void => {
    if (typeof node !== 'object' || node === null) return
    const properties: unknown = Reflect.get(node, 'properties')
    if (typeof properties === 'object' && properties !== null) {
      for (const [key, value] of Object.entries(properties)) {
        if (typeof value !== 'object' || value === null || !('description' in value))
          bare.push(`${path}.${key}`)
      }
    }
    for (const [key, value] of Object.entries(node)) look(value, `${path}.${key}`)
  }
  look(schema, '')
  expect(bare).toEqual([])
})

test('values with a form may be a variable, names may not', () => {
  const text = renderSchema()
  const property = (...keys: string[]): unknown =>
    keys.reduce<unknown>(
      (node, key) =>
        typeof node === 'object' && node !== null ? Reflect.get(node, 'properties')?.[key] : undefined,
      jsonSchema(),
    )
  expect(property('gateway', 'url')).toMatchObject({
    anyOf: [{ format: 'uri' }, { pattern: expect.stringContaining('\\$') }],
  })
  expect(property('gateway', 'data')).toMatchObject({ type: 'string', default: './.hoop' })
  expect(property('stages')).toMatchObject({
    propertyNames: { type: 'string', pattern: expect.stringMatching(/^\^\[a-z0-9\]/) },
  })
  expect(text).not.toContain('undefined')
})
