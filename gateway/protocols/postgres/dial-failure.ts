import { GatewayError, Refused } from '../../core/errors.ts'

class ServerError extends GatewayError {
  readonly state: string

  constructor(state: string, text: string) {
    super('upstream_failed', `${state}: ${text}`)
    this.state = state
  }
}

/** What the server said against the login. */
export function serverError(fields: Map<string, Buffer>): ServerError {
  return new ServerError(fields.get('C')?.toString() ?? '', fields.get('M')?.toString() ?? '')
}

export const askPeople = 'ask the people who run the gateway to look at this connection in hoop.yaml'

/** What a client may know of a failure to connect: its kind, and no name, address or account. */
export function explain(error: unknown): Refused {
  if (error instanceof Refused) return error
  const options = { cause: error }
  if (error instanceof ServerError) {
    const [why, next] = stateWords(error.state)
    return new Refused('upstream_failed', why, next, options)
  }
  if (
    error instanceof Error &&
    'code' in error &&
    typeof error.code === 'string' &&
    isTrustFailure(error.code)
  ) {
    return new Refused(
      'upstream_untrusted',
      'the database could not prove that it is the right one',
      askPeople,
      options,
    )
  }
  return new Refused('upstream_failed', 'the database cannot be reached', askPeople, options)
}

function stateWords(state: string): [why: string, next: string] {
  switch (state) {
    case '28P01':
    case '28000':
      return ['the database refused the service account', askPeople]
    case '3D000':
      return ['the database does not exist there', askPeople]
    case '42501':
      return ['the service account may not connect to this database', askPeople]
    case '53300':
      return ['the database has no connection left', 'try again in a moment, or use a smaller pool']
    case '57P03':
      return ['the database is starting or stopping', 'try again in a moment']
    case '22023':
    case '42704':
      return ['the database refused a start-up setting', 'connect without the settings that are not its own']
    default:
      return ['the database refused the connection', askPeople]
  }
}

function isTrustFailure(code: string): boolean {
  return (
    code.startsWith('ERR_TLS') ||
    code.includes('CERT') ||
    code.startsWith('UNABLE_TO') ||
    code.startsWith('ERR_SSL')
  )
}

export function timedOut(): Refused {
  return new Refused('upstream_failed', 'the database did not answer in time', 'try again in a moment')
}
