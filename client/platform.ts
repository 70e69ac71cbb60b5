import { ClientError, printable, systemCode, wrongUsage } from './error.ts'

export const platforms = ['github', 'gitlab', 'jenkins', 'token'] as const
export type PlatformName = (typeof platforms)[number]

/** Where a job's ID token comes from. */
export interface Platform {
  readonly name: PlatformName
  /**
   * An ID token for this audience: call it again for every attempt. GitHub gives a fresh one each time. GitLab and Jenkins
   * gave theirs before this process began, one for all attempts: the gateway takes it again for the same key only, so a
   * lost answer can be asked for again, and nothing else can.
   */
  getIdToken(audience: string): Promise<string>
}

type Environment = Readonly<Record<string, string | undefined>>

/** The platform of this name; it is named and never guessed, because a wrong guess sends a token to the wrong place. */
export function choosePlatform(name: string | undefined, environment: Environment = process.env): Platform {
  switch (name) {
    case 'github':
      return { name, getIdToken: (audience) => askGithub(audience, environment) }
    case 'gitlab':
    case 'jenkins':
    case 'token':
      return { name, getIdToken: () => readGiven(name, environment) }
    case undefined:
    case '':
      throw wrongUsage('no platform was named', 'give --platform github, gitlab, jenkins or token')
    default:
      throw wrongUsage(
        `there is no platform ${JSON.stringify(name.slice(0, 40))}`,
        'give --platform github, gitlab, jenkins or token',
      )
  }
}

const hints = {
  gitlab: 'add `id_tokens: { HOOP_ID_TOKEN: { aud: GATEWAY-URL } }` to the job',
  jenkins: 'wrap the step in `hoopAccess { … }`, with the credential of the stage',
  token: 'set it to an OIDC ID token whose audience is the gateway’s URL',
}

function readGiven(name: 'gitlab' | 'jenkins' | 'token', environment: Environment): Promise<string> {
  const token = environment.HOOP_ID_TOKEN?.trim() ?? ''
  if (token !== '') return Promise.resolve(token)
  return Promise.reject(new ClientError('no_id_token', 'HOOP_ID_TOKEN is not set', hints[name]))
}

const permission =
  'add this to the job (or the workflow):\n\n    permissions:\n      id-token: write\n      contents: read\n'

/** GitHub's OIDC endpoint: a bearer that lives as long as the job, for an ID token that lives some minutes. */
async function askGithub(audience: string, environment: Environment): Promise<string> {
  const endpoint = URL.parse(environment.ACTIONS_ID_TOKEN_REQUEST_URL ?? '')
  const bearer = environment.ACTIONS_ID_TOKEN_REQUEST_TOKEN ?? ''
  if (endpoint === null || bearer === '') {
    const why = 'this job may not ask GitHub for an ID token'
    throw new ClientError('no_id_token', why, `${permission}\nPull requests from forks never get one.`)
  }
  // `fetch` would hand the bearer, and with it the job's identity, to anybody who is in between.
  if (endpoint.protocol === 'https:' && environment.NODE_TLS_REJECT_UNAUTHORIZED === '0') {
    const why = 'NODE_TLS_REJECT_UNAUTHORIZED=0 would have anybody taken for GitHub'
    throw new ClientError(
      'no_id_token',
      why,
      'unset it; a CA of your own goes into a file that NODE_EXTRA_CA_CERTS names',
    )
  }
  endpoint.searchParams.set('audience', audience)
  const answer = await askOnce(endpoint, bearer)
  if (!answer.ok) {
    await answer.body?.cancel()
    const temporary = answer.status === 429 || answer.status >= 500
    const why = `GitHub refused to give an ID token (status ${answer.status})`
    const next = temporary ? 'see https://www.githubstatus.com and run the job again' : permission
    throw new ClientError(temporary ? 'issuer_unavailable' : 'no_id_token', why, next, { temporary })
  }
  const value = readValue(await boundedText(answer))
  if (value !== null) return value
  throw new ClientError('issuer_unavailable', 'GitHub’s answer holds no ID token', 'run the job again', {
    temporary: true,
  })
}

async function askOnce(endpoint: URL, bearer: string): Promise<Response> {
  try {
    return await fetch(endpoint, {
      headers: { authorization: `Bearer ${bearer}`, accept: 'application/json' },
      // The bearer goes to no other place than the runner named.
      redirect: 'error',
      signal: AbortSignal.timeout(10_000),
    })
  } catch (cause) {
    const inner = cause instanceof Error ? cause.cause : undefined
    const reason =
      systemCode(inner) ?? (cause instanceof Error ? printable(cause.message, 100) : 'unknown error')
    const why = `GitHub’s ID token endpoint cannot be reached (${reason})`
    const next = 'see https://www.githubstatus.com and run the job again'
    throw new ClientError('issuer_unavailable', why, next, { cause, temporary: true })
  }
}

async function boundedText(answer: Response): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  for await (const chunk of answer.body ?? []) {
    text += decoder.decode(chunk, { stream: true })
    if (text.length > 64 * 1024) return ''
  }
  return text
}

function readValue(text: string): string | null {
  try {
    const answer: unknown = JSON.parse(text)
    if (typeof answer !== 'object' || answer === null || !('value' in answer)) return null
    return typeof answer.value === 'string' && answer.value !== '' ? answer.value : null
  } catch {
    return null // said by the caller, without the text: it may hold a token
  }
}
