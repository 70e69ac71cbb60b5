import { writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { z } from 'zod'
import { configSchema } from './schema.ts'
import { nameForm } from './schema-values.ts'

/** Where the schema is kept for editors, relative to this file. */
export const schemaFile = new URL('../../docs/hoop.schema.json', import.meta.url)

/** The JSON Schema (draft 2020-12) of hoop.yaml as its writer sees it: before variables and defaults. */
export function jsonSchema(): object {
  const { $schema, ...schema } = z.toJSONSchema(configSchema, {
    io: 'input',
    target: 'draft-2020-12',
    override: ({ jsonSchema: json }) => allowVariable(json),
  })
  return {
    $schema,
    $id: 'urn:hoop-access:hoop.yaml',
    title: 'hoop.yaml',
    description: 'The configuration of a Hoop Access gateway: who may do what, where, and who is asked.',
    ...schema,
  }
}

const variable = { type: 'string', pattern: '^\\$\\{[A-Za-z_][A-Za-z0-9_]*\\}$' } as const

/** Where a value is checked by its form, `${NAME}` is as good. Names stay names: they are never read from variables. */
function allowVariable(json: z.core.JSONSchema.BaseSchema): void {
  const { type, pattern, format, description, default: usual, ...rest } = json
  const checked =
    type === 'integer' ||
    type === 'boolean' ||
    (type === 'string' && (format !== undefined || pattern !== undefined) && pattern !== nameForm.source)
  if (!checked || json.anyOf !== undefined) return
  for (const key of Object.keys(json)) delete json[key]
  const form = {
    type,
    ...rest,
    ...(format === undefined ? {} : { format }),
    ...(pattern === undefined ? {} : { pattern }),
  }
  json.anyOf = [form, { ...variable }]
  if (usual !== undefined) json.default = usual
  if (description !== undefined) json.description = description
}

/** The text of docs/hoop.schema.json. */
export function renderSchema(): string {
  return `${JSON.stringify(jsonSchema(), null, 2)}\n`
}

// By name: bundled into something else, this module writes nothing.
if (basename(process.argv[1] ?? '') === 'json-schema.ts') writeFileSync(schemaFile, renderSchema())
