import { type IncomingHttpHeaders, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
  /** Where it came from at last. */
  readonly url: URL
}

interface Asked {
  readonly ca: string
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

/** One request, redirects not followed. */
export function ask(url: URL, { ca, method = 'GET', headers = {}, body }: Asked): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const begin = url.protocol === 'https:' ? requestHttps : requestHttp
    const outgoing = begin(url, { ca, agent: false, method, headers }, (answer) => {
      let text = ''
      answer.setEncoding('utf8')
      answer.on('data', (chunk: string) => {
        text += chunk
      })
      answer.on('end', () =>
        resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: text, url }),
      )
      answer.on('error', reject)
    })
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

/** What a browser does, as far as it matters here: cookies by host, redirects, and the headers that say where a request comes from. */
export class Browser {
  readonly cookies = new Map<string, string>()
  readonly #home: URL
  readonly #ca: string

  constructor(home: string, ca: string) {
    this.#home = new URL(home)
    this.#ca = ca
  }

  /** Types an address in, and follows where it leads. */
  async visit(path: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
    let url = new URL(path, this.#home)
    for (let hops = 0; hops < 10; hops++) {
      const answer = await this.#send(url, { headers: { ...navigation('none'), ...headers } })
      if (answer.status < 300 || answer.status >= 400) return answer
      url = new URL(answer.headers.location ?? '', url)
    }
    throw new Error('it redirects for ever')
  }

  /** One request, its redirect not followed. */
  step(path: string): Promise<Answer> {
    return this.#send(new URL(path, this.#home), { headers: navigation('none') })
  }

  /** Sends a form as the page itself does; `fields` beside what the page's own form holds. */
  async submit(path: string, fields: Readonly<Record<string, string>>): Promise<Answer> {
    const answer = await this.post(path, { token: await this.formToken(), ...fields })
    return answer.status === 303 ? this.visit(answer.headers.location ?? '') : answer
  }

  /** Sends a form with these fields and no others. */
  post(
    path: string,
    fields: Readonly<Record<string, string>>,
    headers: Readonly<Record<string, string>> = { ...navigation('same-origin'), origin: 'null' },
  ): Promise<Answer> {
    return this.#send(new URL(path, this.#home), {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
      body: new URLSearchParams(fields).toString(),
    })
  }

  /** What the forms of this login carry. */
  async formToken(): Promise<string> {
    const { body } = await this.visit('/')
    return /name="token" value="([\w-]+)"/.exec(body)?.[1] ?? ''
  }

  async #send(url: URL, asked: Omit<Asked, 'ca'>): Promise<Answer> {
    const own = url.host === this.#home.host
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const headers = { ...asked.headers, ...(own && cookie !== '' && { cookie }) }
    const answer = await ask(url, { ...asked, headers, ca: this.#ca })
    for (const line of answer.headers['set-cookie'] ?? []) if (own) this.#keep(line)
    return answer
  }

  /** RFC 6265bis: `__Host-` cookies that are not what their prefix promises are thrown away. */
  #keep(line: string): void {
    const [pair = '', ...attributes] = line.split('; ')
    const [name, value] = [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]
    if (!name.startsWith('__Host-') || !attributes.includes('Secure') || !attributes.includes('Path=/'))
      return
    if (attributes.some((attribute) => attribute.startsWith('Domain'))) return
    if (attributes.includes('Max-Age=0')) this.cookies.delete(name)
    else this.cookies.set(name, value)
  }
}

function navigation(site: string): Record<string, string> {
  return {
    accept: 'text/html,application/xhtml+xml',
    'sec-fetch-site': site,
    'sec-fetch-mode': 'navigate',
    'sec-fetch-dest': 'document',
  }
}
