import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { parse } from 'yaml'
import { connectGateway } from '../../client/connect.ts'
import { ClientError, systemCode, wrongUsage } from '../../client/error.ts'
import { type Login, readLogin } from '../../client/login.ts'
import { retrying } from '../../client/retry.ts'
import { badAnswer, type Incoming, openTransport } from '../../client/transport.ts'
import type { ClientOptions } from './options.ts'

/** The gateway's HTTP interface, as its operator. */
export interface Operator {
  get(path: string): Promise<unknown>
  /** An array of rows; their shape is the contract's. */
  list<Row>(path: string): Promise<Row[]>
  /** The body as it stands. */
  fetch(path: string): Promise<Incoming>
  post(path: string, body: object): Promise<unknown>
  close(): void
}

interface Access {
  readonly gateway: string | undefined
  readonly ca: string | undefined
  /** What proves the caller, for one request. */
  headers(method: 'GET' | 'POST', path: string): Record<string, string>
}

/** Connects as the operator, with the token in the data folder of hoop.yaml or the one in HOOP_OPERATOR_TOKEN; else as the person who is logged in. */
export async function connectOperator(options: ClientOptions & { config?: string }): Promise<Operator> {
  const access = await findAccess(options)
  const { transport } = await connectGateway(access.gateway, access.ca)
  // Recordings are large; everything else is not.
  const wide = openTransport(transport.gateway, transport.trust, { bytes: 1024 ** 3, timeout: 600_000 })
  const get = (path: string): Promise<unknown> =>
    retrying(() => transport.json({ method: 'GET', path, headers: access.headers('GET', path) }))
  return {
    get,
    list: async <Row>(path: string) => {
      const rows = await get(path)
      if (!Array.isArray(rows)) throw badAnswer(transport.gateway, 'it does not list anything')
      return rows as Row[]
    },
    fetch: (path) => retrying(() => wide.send({ method: 'GET', path, headers: access.headers('GET', path) })),
    close: () => {
      transport.close()
      wide.close()
    },
    post: (path, body) =>
      transport.json({
        method: 'POST',
        path,
        headers: { ...access.headers('POST', path), 'content-type': 'application/json' },
        body: JSON.stringify(body),
      }),
  }
}

async function findAccess(options: ClientOptions & { config?: string }): Promise<Access> {
  const { HOOP_OPERATOR_TOKEN: token, HOOP_GATEWAY, HOOP_CA } = process.env
  const login = options.config === undefined && !token ? await readLogin() : null
  const named = options.gateway ?? (HOOP_GATEWAY || undefined)
  if (login !== null && (named === undefined || URL.parse(named)?.origin === login.gateway))
    return byLogin(login)
  const config = options.config ?? (existsSync('hoop.yaml') && !token ? 'hoop.yaml' : undefined)
  if (config !== undefined) {
    const { url, data } = await readGatewaySection(config)
    const own = join(data, 'ca.pem')
    return {
      gateway: options.gateway ?? url,
      ca: options.ca ?? (existsSync(own) ? own : undefined),
      headers: bearing((await readSecretFile(join(data, 'operator.token'))).trim()),
    }
  }
  if (token === undefined || token === '') {
    throw wrongUsage(
      'nobody is logged in, and the operator’s token was not found',
      'run hoop-access login, give --config hoop.yaml on the gateway’s own machine, or set HOOP_GATEWAY, HOOP_CA and HOOP_OPERATOR_TOKEN',
    )
  }
  return { gateway: options.gateway ?? HOOP_GATEWAY, ca: options.ca ?? HOOP_CA, headers: bearing(token) }
}

function bearing(token: string): Access['headers'] {
  return () => ({ authorization: `Bearer ${token}` })
}

/** As the person of `hoop-access login`, at the gateway that they logged in at and by the CA that it was verified by. */
function byLogin({ gateway, ca, token, key }: Login): Access {
  return {
    gateway,
    ca: ca ?? undefined,
    headers: (method, path) => ({
      authorization: `DPoP ${token}`,
      dpop: key.prove(method, new URL(path, gateway), token),
    }),
  }
}

/** Where the gateway of a hoop.yaml is and keeps its data. The rest is not read: it may need secrets that are not here. */
export async function readGatewaySection(
  path: string,
): Promise<{ url: string; data: string; recordings: string }> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw wrongUsage(`${path} cannot be read (${systemCode(cause) ?? 'unknown error'})`, 'give --config PATH')
  })
  const root: unknown = parse(text)
  const gateway = at(root, 'gateway')
  const url = variable(at(gateway, 'url'))
  if (url === undefined)
    throw wrongUsage(`${path} has no gateway.url`, `run \`hoop-access policy check ${path}\``)
  const data = resolve(dirname(path), variable(at(gateway, 'data')) ?? '.hoop')
  const recordings = variable(at(gateway, 'recordings'))
  return {
    url,
    data,
    recordings: recordings === undefined ? join(data, 'recordings') : resolve(dirname(path), recordings),
  }
}

function at(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    ? Reflect.get(value, key)
    : undefined
}

function variable(value: unknown): string | undefined {
  if (typeof value !== 'string') return undefined
  return value.replace(/\$\{(\w+)\}/g, (_, name: string) => process.env[name] ?? '')
}

async function readSecretFile(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    const why = `the operator’s token cannot be read (${systemCode(cause) ?? 'unknown error'}): ${path}`
    const next =
      'run this as the gateway’s own user, after the gateway’s first start, or set HOOP_OPERATOR_TOKEN'
    throw new ClientError('no_operator', why, next, { cause })
  }
}
