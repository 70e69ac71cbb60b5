/** Anything the client could not do: a stable code, why, and what to do next; nothing secret. */
export class ClientError extends Error {
  readonly code: string
  /** One sentence. */
  readonly why: string
  /** One sentence. */
  readonly next: string
  /** What the command exits with: 1 failed, 2 wrong usage, 3 denied by policy, 4 approval refused or timed out. */
  readonly exitCode: number
  /** True when the same thing may work a little later: only such failures are tried again. */
  readonly temporary: boolean
  /** Milliseconds that the gateway asked to wait, where it did. */
  readonly retryAfter: number | undefined

  constructor(
    code: string,
    why: string,
    next: string,
    options?: ErrorOptions & { exitCode?: number; temporary?: boolean; retryAfter?: number | undefined },
  ) {
    super(`${why}: ${next}`, options)
    this.name = 'ClientError'
    this.code = code
    this.why = why
    this.next = next
    this.exitCode = options?.exitCode ?? 1
    this.temporary = options?.temporary ?? false
    this.retryAfter = options?.retryAfter
  }
}

/** A wrong option or value (exit code 2). */
export function wrongUsage(why: string, next: string): ClientError {
  return new ClientError('wrong_usage', why, next, { exitCode: 2 })
}

/** Text from the other side as it may be shown: no control characters (terminal escapes, forged log lines), bounded. */
export function printable(text: string, most = 1000): string {
  // oxlint's no-control-regex does not see escapes by property: \p{Cc} is C0, DEL and C1; \p{Cf} holds bidi overrides.
  return text.replace(/[\p{Cc}\p{Cf}]+/gu, ' ').slice(0, most)
}

/** The code of a system error (`ENOENT`), or undefined. */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}
