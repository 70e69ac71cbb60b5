import type { Refused } from '../../core/errors.ts'
import type { Answered } from '../../http-relay/dialect.ts'

/** What metav1.StatusReason calls a status. */
const reasons: Readonly<Record<number, string>> = {
  400: 'BadRequest',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
  413: 'RequestEntityTooLarge',
  415: 'UnsupportedMediaType',
  429: 'TooManyRequests',
  500: 'InternalError',
  502: 'InternalError',
  503: 'ServiceUnavailable',
  504: 'Timeout',
}

/** A refusal as a `Status` (metav1.Status), which kubectl shows and client libraries throw; status and headers are those of its problem details. */
export function statusOf(refused: Refused, { status, headers }: Omit<Answered, 'body'>): Answered {
  const retry = Number(headers['retry-after'])
  return {
    status,
    headers: { ...headers, 'content-type': 'application/json' },
    body: failure(refused, status, retry),
  }
}

/** The same for what ends a stream. */
export function failure(refused: Refused, code: number, retryAfterSeconds = Number.NaN): object {
  const pending = refused.code === 'approval_pending'
  return {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message: `hoop-access: ${refused.why}. Next: ${refused.next}`,
    reason: pending ? 'approval_pending' : (reasons[code] ?? 'InternalError'),
    details: {
      causes: [{ reason: refused.code, message: refused.why, ...(refused.rule && { field: refused.rule }) }],
      ...(retryAfterSeconds > 0 && { retryAfterSeconds }),
    },
    code,
  }
}
