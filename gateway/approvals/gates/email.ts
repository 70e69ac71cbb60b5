import { createTransport } from 'nodemailer'
import type { ApprovalView } from '../../core/contract.ts'
import { Refused } from '../../core/errors.ts'
import { isLoopbackHost } from '../../identity/addresses.ts'
import { TryLater } from '../../platforms/call.ts'
import type { Config, Secret } from '../../policy/schema.ts'
import type { Alarm, ApprovalGate, Posted, Posting } from './gate.ts'
import { alarmIn, operationsIn, stagesIn, visible } from './words.ts'

const TIMEOUT_MS = 15_000
/** Letters remembered, so that one who cannot be reached does not get the others the same letter again. */
const KEPT = 10_000

/**
 * Letters to the members of a group, each with a link to the page, where they log in: nothing in a letter answers by being
 * opened, so that what scans links approves nothing. The text of the request is on the page only.
 */
export class EmailGate implements ApprovalGate {
  readonly name = 'email'
  readonly #config: () => Config
  readonly #readSecret: (secret: Secret) => string
  readonly #sent = new Set<string>()

  constructor(options: { readonly config: () => Config; readonly readSecret: (secret: Secret) => string }) {
    this.#config = options.config
    this.#readSecret = options.readSecret
  }

  async announce({ approval, groups, signal }: Posting): Promise<Posted> {
    const addressed = this.#addresses(groups)
    if (addressed.size === 0) {
      throw new Refused(
        'upstream_failed',
        `no member of ${groups.join(', ')} has an email in \`people\``,
        'add their addresses to hoop.yaml',
      )
    }
    await this.#send(addressed, letterOf(approval), `${approval.id}.asked`, signal)
    return { handle: '' }
  }

  /** Over it is told by the page; another letter would be noise. */
  conclude(): Promise<void> {
    return Promise.resolve()
  }

  async alarm({ approval, groups, glass, delivery, signal }: Alarm): Promise<void> {
    const addressed = this.#addresses(groups)
    if (addressed.size > 0) await this.#send(addressed, alarmOf(approval, glass), delivery, signal)
  }

  #addresses(groups: readonly string[]): ReadonlyMap<string, string> {
    const { approvers, people } = this.#config()
    const found = new Map<string, string>()
    for (const group of groups) {
      for (const name of Object.hasOwn(approvers, group) ? (approvers[group]?.members ?? []) : []) {
        const email = Object.hasOwn(people, name) ? people[name]?.email : undefined
        if (email !== undefined) found.set(name, email)
      }
    }
    return found
  }

  /** One letter a person, so that nobody reads the others' addresses; the same id when it is tried again, so that mail programs show it once. */
  async #send(
    people: ReadonlyMap<string, string>,
    { subject, text, html }: Letter,
    id: string,
    signal: AbortSignal,
  ): Promise<void> {
    const { smtp, gateway } = this.#config()
    if (smtp === undefined)
      throw new Refused('upstream_failed', 'there is no mail server', 'add `smtp` to hoop.yaml')
    const transport = createTransport(
      serverOf(this.#readSecret(smtp.url), smtp.ca && this.#readSecret(smtp.ca)),
    )
    const stop = (): void => transport.close()
    signal.addEventListener('abort', stop, { once: true })
    let failed: unknown
    try {
      for (const [name, address] of people) {
        const messageId = `<${id}.${name}@${new URL(gateway.url).hostname}>`
        if (this.#sent.has(messageId)) continue
        try {
          await transport.sendMail({
            from: smtp.from,
            // An address, never a list or a header: nodemailer takes an object as it stands.
            to: { name, address },
            subject,
            text,
            html,
            messageId,
            // RFC 3834: no vacation answers to this.
            headers: { 'auto-submitted': 'auto-generated' },
          })
          this.#remember(messageId)
        } catch (error) {
          failed = error
        }
      }
    } finally {
      signal.removeEventListener('abort', stop)
      transport.close()
    }
    if (failed !== undefined) throw explain(failed)
  }

  #remember(letter: string): void {
    this.#sent.add(letter)
    for (const oldest of this.#sent) {
      if (this.#sent.size <= KEPT) break
      this.#sent.delete(oldest)
    }
  }
}

interface Letter {
  readonly subject: string
  readonly text: string
  readonly html: string
}

function letterOf(view: ApprovalView): Letter {
  const facts: readonly (readonly [string, string])[] = [
    ['What', operationsIn(view)],
    ['On', view.connection],
    ['Asked by', stagesIn(view)],
    ['Asked of', view.by.join(' and ')],
    ['Until', view.expires_at],
    ['Run', view.run ?? 'unknown'],
  ]
  return letter(`Approval wanted: ${operationsIn(view)} on ${view.connection}`, {
    lead: 'A request of a pipeline waits for you.',
    facts,
    link: ['See what will run, and answer', view.url],
    foot: 'The page asks you to log in. This letter holds no way to approve anything.',
  })
}

function alarmOf(view: ApprovalView, glass: Alarm['glass']): Letter {
  return letter(`The glass was broken: ${operationsIn(view)} on ${view.connection}`, {
    lead: alarmIn(glass),
    facts: [
      ['What', operationsIn(view)],
      ['On', view.connection],
      ['Asked by', stagesIn(view)],
    ],
    link: ['See what was let through', view.url],
    foot: 'It went through without the people whom the rule asks.',
  })
}

function letter(
  subject: string,
  parts: {
    readonly lead: string
    readonly facts: readonly (readonly [string, string])[]
    readonly link: readonly [string, string]
    readonly foot: string
  },
): Letter {
  const [label, url] = parts.link
  const width = Math.max(...parts.facts.map(([name]) => name.length))
  const plain = parts.facts.map(([name, value]) => `${name.padEnd(width)}  ${flat(value)}`)
  const rows = parts.facts.map(
    ([name, value]) =>
      `<tr><td style="padding:2px 16px 2px 0;color:#51626b">${escape(name)}</td><td>${escape(value)}</td></tr>`,
  )
  return {
    subject: flat(subject),
    text: `${flat(parts.lead)}\n\n${plain.join('\n')}\n\n${label}:\n${url}\n\n${parts.foot}\n`,
    html: `<!doctype html><html lang="en"><body style="font:16px/1.5 system-ui,sans-serif;color:#16232a"><p>${escape(parts.lead)}</p><table style="border-collapse:collapse">${rows.join('')}</table><p><a href="${escape(url)}">${escape(label)}</a></p><p style="color:#51626b">${escape(parts.foot)}</p></body></html>`,
  }
}

/** One line, nothing hidden in it. */
function flat(text: string): string {
  return visible(text).replaceAll(/\s+/g, ' ')
}

function escape(text: string): string {
  const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }
  return flat(text).replaceAll(/[&<>"]/g, (character) => entities[character] ?? '')
}

function serverOf(text: string, ca: string | undefined): object {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url === null || (url.protocol !== 'smtp:' && url.protocol !== 'smtps:')) {
    throw new Refused(
      'upstream_failed',
      'the URL of the mail server is none of smtps: or smtp:',
      'correct `smtp.url` in hoop.yaml',
    )
  }
  const secure = url.protocol === 'smtps:'
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? (secure ? 465 : 587) : Number(url.port),
    secure,
    // Without TLS only to this machine: else anybody on the way reads the password.
    requireTLS: !secure && !isLoopbackHost(url.hostname),
    ...(url.username !== '' && {
      auth: { user: decodeURIComponent(url.username), pass: decodeURIComponent(url.password) },
    }),
    tls: { minVersion: 'TLSv1.2', ...(ca !== undefined && { ca }) },
    connectionTimeout: TIMEOUT_MS,
    greetingTimeout: TIMEOUT_MS,
    socketTimeout: TIMEOUT_MS,
    disableFileAccess: true,
    disableUrlAccess: true,
  }
}

/** In words of our own: what a mail server answers may hold what was sent to it. */
function explain(error: unknown): Refused {
  if (error instanceof Refused) return error
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'EAUTH') {
    return new Refused(
      'upstream_failed',
      'the mail server does not take the user and password',
      'correct `smtp.url` in hoop.yaml',
      { cause: error },
    )
  }
  if (code === 'EENVELOPE' || code === 'EMESSAGE') {
    return new Refused(
      'upstream_failed',
      'the mail server does not take the letter',
      'look at `smtp.from` and the addresses in `people`, and at what the mail server logged',
      { cause: error },
    )
  }
  return new TryLater('the mail server does not answer, or its certificate does not verify', 0, {
    cause: error,
  })
}
