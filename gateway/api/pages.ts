import type { FastifyReply } from 'fastify'
import type { ApprovalView } from '../core/contract.ts'

/** Sends a page: no scripts, no frames, nothing from elsewhere (the headers say so too). */
export function html(reply: FastifyReply, body: string): FastifyReply {
  return reply
    .type('text/html; charset=utf-8')
    .send(
      `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Hoop Access</title><body>${body}</body></html>\n`,
    )
}

/** What stands at the root. */
export function hello(url: string): string {
  return `<h1>Hoop Access</h1><p>This gateway gives CI jobs identities of their stage, and decides, masks and records what they do. Its address is <code>${escape(url)}</code>; <a href="/openapi.json">its interface</a> and <a href="/schema/hoop.json">the schema of its configuration</a> are here.</p>`
}

/** What somebody sees who did not say who they are. */
export function signIn(...commands: readonly string[]): string {
  return `<h1>Hoop Access</h1><p>Look at it and answer it from a terminal:</p>${commands.map((command) => `<pre>${escape(command)}</pre>`).join('')}`
}

/** What is asked, for somebody who may see it. */
export function approvalPage(view: ApprovalView): string {
  const rows: readonly (readonly [string, string])[] = [
    ['State', view.state],
    ['Connection', view.connection],
    ['Identity', view.identity],
    ['Operations', view.operations.map(({ action, resource }) => `${action} ${resource}`.trim()).join(', ')],
    ['Rule', view.rule],
    ['Asked of', view.by.join(' and ')],
    ['Asked at', view.requested_at],
    ['Until', view.expires_at],
    ...view.answers.map(
      ({ person, answer, reason, at }) =>
        [answer, `${person} at ${at}${reason === '' ? '' : `: ${reason}`}`] as const,
    ),
  ]
  const table = rows.map(([name, value]) => `<tr><th>${escape(name)}<td>${escape(value)}`).join('')
  const how =
    view.state === 'pending'
      ? `<p>Answer it from a terminal:</p><pre>hoop-access approvals approve ${escape(view.id)}\nhoop-access approvals deny ${escape(view.id)}</pre>`
      : ''
  return `<h1>${escape(view.id)}</h1><pre>${escape(view.statement)}</pre><table>${table}</table>${how}`
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

function escape(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => entities[character] ?? '')
}
