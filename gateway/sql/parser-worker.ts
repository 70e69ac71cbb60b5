import { setFlagsFromString } from 'node:v8'
import { parentPort } from 'node:worker_threads'
import { hasSqlDetails, loadModule, parseSync, scanSync } from 'libpg-query'
import { Refused } from '../core/errors.ts'
import { analyze } from './analyze.ts'
import { type Answer, type FromWorker, keyOf, type Question, type ToWorker } from './conversation.ts'
import type { Token } from './literals.ts'
import { type Parsed, placeStatement } from './parsed.ts'
import type { Node } from '@pgsql/types'
import type { Surroundings } from './reader.ts'

// PostgreSQL's parser and the reading of its trees run here and nowhere else: a text that overflows the stack, fills
// the memory or never ends takes this thread with it, and the gateway starts another.

/** Answers kept for one catalog. */
const maxKnown = 50_000
/** Each round can uncover names inside the views of the one before. */
const maxRounds = 64

const port = parentPort
if (port === null) throw new Error('parser-worker runs as a worker thread')

let known = new Map<string, Answer>()
let knownOf = -1
let waiting: ((answers: readonly Answer[]) => void) | null = null

const send = (message: FromWorker): void => port.postMessage(message)

port.on('message', (message: ToWorker) => {
  if (message.kind === 'answers') waiting?.(message.answers)
  else void read(message).then(send, (error: unknown) => send(refusalOf(error)))
})

await loadSmall()
send({ kind: 'ready' })

/**
 * Loads the parser, and parses once before anyone waits: that is slower than the rest, and has V8's first compiler make
 * the one huge function of the grammar. Its second one would take 580 MB for it, for a moment, in every process, to save 4
 * of the 15 µs of a parse. The flags count while a function is first compiled, for all of the process: one of another
 * module that is compiled just then stays as it is, too.
 */
async function loadSmall(): Promise<void> {
  setFlagsFromString('--no-wasm-dynamic-tiering')
  setFlagsFromString('--no-wasm-tier-up')
  try {
    await loadModule()
    parseSync('SELECT 1')
  } finally {
    setFlagsFromString('--wasm-tier-up')
    setFlagsFromString('--wasm-dynamic-tiering')
  }
}

async function read(job: Extract<ToWorker, { kind: 'read' }>): Promise<FromWorker> {
  if (job.catalog !== knownOf || known.size > maxKnown) {
    known = new Map()
    knownOf = job.catalog
  }
  const parsed = parse(job.text)
  const named = new Map<string, Answer>()
  for (let round = 0; round < maxRounds; round += 1) {
    const missing = new Map<string, Question>()
    const around = surroundings(job.user, named, missing)
    let outcome: FromWorker
    try {
      outcome = { kind: 'done', ...analyze(parsed, around, job.path), lasting: named.size === 0 }
    } catch (error) {
      outcome = refusalOf(error)
    }
    if (missing.size === 0 || (outcome.kind === 'refused' && outcome.broken)) return outcome
    const questions = [...missing.values()]
    const answers = await ask(questions)
    questions.forEach((question, index) => {
      const about = question.kind === 'prepared' || question.kind === 'cursor' ? named : known
      about.set(keyOf(question), answers[index] ?? null)
    })
  }
  throw new Refused(
    'too_large',
    'the views that this touches are nested too deep',
    'use the views below them',
  )
}

function ask(questions: readonly Question[]): Promise<readonly Answer[]> {
  return new Promise((resolve) => {
    waiting = resolve
    send({ kind: 'ask', questions })
  })
}

function parse(text: string): Parsed {
  const bytes = Buffer.byteLength(text)
  const raw = text === '' ? [] : (parseSync(text).stmts ?? [])
  let tokens: readonly Token[] | null = null
  return {
    text,
    statements: raw.map((statement) => placeStatement(statement, bytes)),
    tokens: () => (tokens ??= scanSync(text).tokens),
  }
}

/** What is known around the text; what is not is noted in `missing`, and taken as absent in this round. */
function surroundings(
  user: string | null,
  named: Map<string, Answer>,
  missing: Map<string, Question>,
): Surroundings {
  const look = (question: Question): Answer => {
    const key = keyOf(question)
    const about = question.kind === 'prepared' || question.kind === 'cursor' ? named : known
    const answer = about.get(key)
    if (answer === undefined) missing.set(key, question)
    return answer ?? null
  }
  const list = (answer: Answer): readonly string[] => (isList(answer) ? answer : [])
  return {
    user,
    relation: (schema, name) => {
      const answer = look({ kind: 'relation', schema, name })
      return answer !== null && typeof answer === 'object' && 'schema' in answer ? answer : null
    },
    hasSchema: (name) => look({ kind: 'schema', name }) === true,
    relationSchemas: (name) => list(look({ kind: 'relation-schemas', name })),
    functionSchemas: (name) => list(look({ kind: 'function-schemas', name })),
    functionReads: (schema, name) => list(look({ kind: 'function-reads', schema, name })),
    named: (kind, name) => {
      const answer = look({ kind, name })
      return answer !== null && typeof answer === 'object' && 'operations' in answer ? answer : null
    },
    definition,
  }
}

function isList(answer: Answer): answer is readonly string[] {
  return Array.isArray(answer)
}

/** The parse tree of a view's definition, or null when this parser does not read it (an older server's syntax). */
function definition(text: string): readonly Node[] | null {
  try {
    return parse(text).statements
  } catch (error) {
    if (hasSqlDetails(error)) return null
    throw error
  }
}

function refusalOf(error: unknown): Extract<FromWorker, { kind: 'refused' }> {
  if (error instanceof Refused) {
    return { kind: 'refused', code: error.code, why: error.why, next: error.next, broken: false }
  }
  if (hasSqlDetails(error)) {
    const message = error.message
    if (/stack depth|memory exhausted|out of memory/i.test(message)) return tooLarge(false)
    const at = error.sqlDetails?.cursorPosition
    return {
      kind: 'refused',
      code: 'unparseable',
      why: message,
      next: 'correct the statement: PostgreSQL 18 could not parse it, whose grammar the gateway reads by',
      at: at === undefined ? undefined : at + 1,
      broken: false,
    }
  }
  // A stack that overflowed inside the parser leaks there, and some thirty times later it would never return.
  return tooLarge(true)
}

function tooLarge(broken: boolean): Extract<FromWorker, { kind: 'refused' }> {
  return {
    kind: 'refused',
    code: 'too_large',
    why: 'the statement is nested too deep',
    next: 'write it flatter',
    broken,
  }
}
