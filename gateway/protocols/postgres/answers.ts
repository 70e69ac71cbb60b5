import { GatewayError, Refused } from '../../core/errors.ts'
import { Back, fieldsMessage, int32, message } from './codec.ts'
import { readFields, readParameterStatus, readRowDescription } from './messages.ts'
import { maskCopy } from './copy-rows.ts'
import { FrameReader } from './frames.ts'
import type { Expected } from './ledger.ts'
import { type PlanParts, type ResultPlan, ResultPlans } from './result-plan.ts'
import { maskRows, redactValues } from './rows.ts'

/** Greatest length of one message from the database: a row is scanned whole. */
const MESSAGE_CAP = 16 * 1024 * 1024
/** Reads the database's answers, knows by the ledger whose they are, and gives what of them may be released. */
export class AnswerWalker {
  readonly #parts: PlanParts
  readonly #plans: ResultPlans
  readonly #frames = new FrameReader(() => MESSAGE_CAP)
  #out: Buffer[] = []
  /** Untouched messages that lie one after the other, and leave as one view. */
  #runSource: Buffer | null = null
  #runStart = 0
  #runEnd = 0
  /** Rows that lie one after the other. */
  #rowSource: Buffer | null = null
  #rowStart = 0
  #rowEnd = 0
  /** What happens to the result that is being read. */
  #plan: ResultPlan | null = null
  /** The entry that `#plan` was made for: Execute has no RowDescription of its own. */
  #planned: Expected | null = null

  constructor(parts: PlanParts) {
    this.#parts = parts
    this.#plans = new ResultPlans(parts)
  }

  /** True once the database said with a FATAL error that it is closing. */
  farewell = false

  /** Throws `GatewayError` when the database answers what was not asked. */
  read(chunk: Uint8Array): readonly Buffer[] {
    const frames = this.#frames
    frames.push(
      Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength),
    )
    for (let found = frames.next(); found !== null; found = frames.next()) {
      if (found !== 'whole') throw tooLarge()
      const { type } = frames
      const rows = type === Back.dataRow || type === Back.copyData
      if (rows) frames.stretch()
      const { source, start, end } = frames
      if (rows) {
        this.#row(type)
        if (this.#rowSource !== source || this.#rowEnd !== start) {
          this.#flushRows()
          this.#rowSource = source
          this.#rowStart = start
        }
        this.#rowEnd = end
        continue
      }
      this.#flushRows()
      const shown = this.#other(type, source, start, end)
      if (shown === true) this.#pass(source, start, end)
      else if (shown !== false) this.#emit(shown)
    }
    this.#flushRows()
    this.#flushRun()
    const out = this.#out
    this.#out = []
    this.#parts.ledger.notify()
    return out
  }

  /** A row belongs to the first entry, whose columns must be known if any can be masked. */
  #row(type: number): void {
    const { ledger } = this.#parts
    const { first } = ledger
    if (first === null || (first.kind !== 'query' && first.kind !== 'execute') || first.hidden)
      throw unexpected(type)
    if (type === Back.copyData) {
      // What CopyOutResponse announced: `#planned` is set with it.
      if (first.statements[ledger.done]?.kind !== 'copy-out' || this.#planned !== first)
        throw unexpected(type)
      return
    }
    if (this.#planned === first) return
    if (first.kind === 'query') throw unexpected(type)
    this.#follow(first, this.#plans.forRows(first, first.described?.columns ?? null))
  }

  /** What comes from here on is of this entry, and goes by this plan. */
  #follow(first: Expected | null, plan: ResultPlan | null): void {
    this.#flushRows()
    this.#planned = first
    this.#plan = plan
  }

  /** True to pass the message on, false to keep it back, or what goes instead. Follows PostgreSQL §54.2, "Message Flow". */
  #other(type: number, source: Buffer, start: number, end: number): boolean | Buffer {
    const { ledger } = this.#parts
    const { first } = ledger
    const kind = first?.kind
    switch (type) {
      case Back.parseComplete:
        return this.#simple(type, kind === 'parse')
      case Back.bindComplete:
        return this.#simple(type, kind === 'bind')
      case Back.closeComplete:
        return this.#simple(type, kind === 'close')
      case Back.parameterDescription:
        if (kind !== 'describe-statement') throw unexpected(type)
        return true
      case Back.rowDescription:
      case Back.noData: {
        const columns = type === Back.noData ? [] : readRowDescription(source, start, end)
        if (first?.kind === 'query' && type === Back.rowDescription && first.refusal === null) {
          this.#follow(first, this.#plans.forRows(first, columns))
          return true
        }
        if (first === null || (kind !== 'describe-statement' && kind !== 'describe-portal'))
          throw unexpected(type)
        if (first.described !== null) first.described.columns = columns
        const { hidden } = first
        ledger.shift()
        return !hidden
      }
      case Back.commandComplete:
      case Back.emptyQueryResponse:
        this.#statementDone(type, first)
        return true
      case Back.portalSuspended:
        if (kind !== 'execute') throw unexpected(type)
        this.#planned = null
        this.#touch(first)
        ledger.shift()
        return true
      case Back.copyInResponse:
        if (first === null || first.statements[ledger.done]?.kind !== 'copy-in' || first.refusal !== null) {
          throw unexpected(type)
        }
        ledger.copyIn = true
        return true
      case Back.copyOutResponse:
        if (first === null || first.refusal !== null || end - start < 8) throw unexpected(type)
        // Int8 format of all, int16 columns, int16 format of each.
        this.#follow(first, this.#plans.forCopy(first, source.readUInt16BE(start + 6)))
        if (this.#plan === null) throw unexpected(type)
        return true
      case Back.copyDone:
        if (kind !== 'query' && kind !== 'execute') throw unexpected(type)
        this.#plan?.copy?.end()
        return true
      case Back.functionCallResponse:
        if (first?.call !== true || first.refusal !== null) throw unexpected(type)
        ledger.succeeded()
        return this.#functionResult(source, start, end)
      case Back.readyForQuery: {
        if (kind !== 'query' && kind !== 'sync') throw unexpected(type)
        this.#planned = null
        const status = String.fromCharCode(source[start + 5] ?? 0)
        if (status !== 'I' && status !== 'T' && status !== 'E') throw unexpected(type)
        if (first?.kind === 'query') this.#touch(first)
        ledger.ready(status)
        return true
      }
      case Back.parameterStatus:
        ledger.parameters.set(...readParameterStatus(source, start, end))
        return true
      case Back.errorResponse:
        return this.#error(first, source, start, end)
      case Back.noticeResponse:
        return this.#told(Back.noticeResponse, readFields(source, start, end), this.#withheld(first))
      case Back.notificationResponse:
        return this.#notification(source, start, end)
      default:
        throw unexpected(type)
    }
  }

  #simple(type: number, matches: boolean): boolean {
    if (!matches) throw unexpected(type)
    const { ledger } = this.#parts
    ledger.succeeded()
    ledger.shift()
    return true
  }

  #statementDone(type: number, first: Expected | null): void {
    const { ledger } = this.#parts
    if (first === null || first.refusal !== null) throw unexpected(type)
    if (first.kind !== 'query' && first.kind !== 'execute') throw unexpected(type)
    this.#planned = null
    this.#touch(first)
    ledger.succeeded()
    if (first.kind === 'execute') ledger.shift()
  }

  #touch(first: Expected | null): void {
    if (first?.permit?.touchesMasked === true) this.#parts.ledger.touched = true
  }

  #withheld(first: Expected | null): boolean {
    return this.#parts.ledger.touched || (first?.permit?.touchesMasked ?? false)
  }

  #error(first: Expected | null, source: Buffer, start: number, end: number): Buffer | boolean {
    const fields = readFields(source, start, end)
    const severity = (fields.get('V') ?? fields.get('S'))?.toString('latin1') ?? ''
    if (severity === 'FATAL' || severity === 'PANIC') this.farewell = true
    const withheld = this.#withheld(first)
    this.#planned = null
    this.#touch(first)
    const { ledger } = this.#parts
    const refusal = first !== null && !this.farewell ? first.refusal : null
    ledger.failed()
    return refusal ?? this.#told(Back.errorResponse, fields, withheld)
  }

  /** An error or notice without what it must not tell. */
  #told(
    type: typeof Back.errorResponse | typeof Back.noticeResponse,
    fields: Map<string, Buffer>,
    withheld: boolean,
  ): Buffer | true {
    if (withheld) {
      const kept = [...fields].filter(([code]) => 'SVCn'.includes(code))
      return fieldsMessage(type, [...kept, ['M', withheldText]])
    }
    let hits = 0
    const shown = [...fields].map(([code, value]): [string, Buffer] => {
      const redacted = this.#parts.tools.redact(value)
      if (redacted === null) return [code, value]
      hits++
      return [code, Buffer.from(redacted)]
    })
    if (hits === 0) return true
    this.#parts.tools.masked(hits)
    return fieldsMessage(type, shown)
  }

  /**
   * FunctionCallResponse: int32 length (-1 is NULL), value. libpq copies it into a buffer of the length that it asked for:
   * what must not be shown becomes NULL, for anything else might be longer.
   */
  #functionResult(source: Buffer, start: number, end: number): Buffer | true {
    if (this.#parts.tools.redact(source.subarray(start + 9, end)) === null) return true
    this.#parts.tools.masked(1)
    return message(Back.functionCallResponse, int32(-1))
  }

  /** NotificationResponse: int32 process, string channel, string payload. */
  #notification(source: Buffer, start: number, end: number): Buffer | true {
    const redacted = this.#parts.tools.redact(source.subarray(start + 9, end))
    if (redacted === null) return true
    this.#parts.tools.masked(1)
    return message(Back.notificationResponse, source.subarray(start + 5, start + 9), Buffer.from(redacted))
  }

  #flushRows(): void {
    const source = this.#rowSource
    if (source === null) return
    this.#rowSource = null
    const { tools, maskValue } = this.#parts
    let rows = source.subarray(this.#rowStart, this.#rowEnd)
    let changed = false
    const { columns, copy, rigid } = this.#plan ?? untouched
    if (columns !== null) {
      const { bytes, masked } = maskRows(rows, columns, maskValue)
      tools.masked(masked)
      rows = bytes
      changed = true
    }
    if (copy !== null) {
      rows = maskCopy(rows, copy)
      changed = true
    }
    const redacted = redactValues(rows, (bytes) => tools.redact(bytes), rigid)
    if (redacted !== null) {
      tools.masked(redacted.redacted)
      rows = redacted.bytes
      changed = true
    }
    if (changed) this.#emit(rows)
    else this.#pass(source, this.#rowStart, this.#rowEnd)
  }

  #pass(source: Buffer, start: number, end: number): void {
    if (this.#runSource !== source || this.#runEnd !== start) {
      this.#flushRun()
      this.#runSource = source
      this.#runStart = start
    }
    this.#runEnd = end
  }

  #flushRun(): void {
    if (this.#runSource !== null) this.#out.push(this.#runSource.subarray(this.#runStart, this.#runEnd))
    this.#runSource = null
  }

  #emit(bytes: Buffer): void {
    this.#flushRun()
    this.#out.push(bytes)
  }
}

/** For results that have no plan. */
const untouched: ResultPlan = { columns: null, rigid: () => false, copy: null }

const withheldText = 'the database answered this statement with details that are masked'

function unexpected(type: number): GatewayError {
  return new GatewayError(
    'upstream_failed',
    `the database sent an unexpected message ${JSON.stringify(String.fromCharCode(type))}`,
  )
}

function tooLarge(): Refused {
  return new Refused(
    'too_large',
    `the database sent a row of more than ${MESSAGE_CAP / 1_048_576} MiB`,
    'select large values in parts (substring)',
  )
}
