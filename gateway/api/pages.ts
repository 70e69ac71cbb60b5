import type { FastifyReply } from 'fastify'
import type { ApprovalView, SessionView } from '../core/contract.ts'
import type { IdentityRow } from './identity-rows.ts'

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
  return `<h1>Hoop Access</h1><p>Look at it from a terminal:</p>${commands.map((command) => `<pre>${escape(command)}</pre>`).join('')}`
}

/** What is asked, for somebody who may see it. */
export function approvalPage(view: ApprovalView): string {
  const rows: readonly Row[] = [
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
  const how =
    view.state === 'pending'
      ? `<p>Answer it from a terminal:</p><pre>hoop-access approvals approve ${escape(view.id)}\nhoop-access approvals deny ${escape(view.id)}</pre>`
      : ''
  return `<h1>${escape(view.id)}</h1><pre>${escape(view.statement)}</pre>${table(rows)}${how}`
}

/** What happened in a session, in numbers, and how to see it played. */
export function sessionPage(view: SessionView): string {
  const rows: readonly Row[] = [
    ['Stage', view.stage],
    ['Identity', view.identity, `/identities/${view.identity}`],
    ['Connection', `${view.connection} (${view.protocol})`],
    ['Began', view.started_at],
    ['Ended', view.ended_at === null ? 'it runs' : `${view.ended_at}: ${view.end ?? ''}`],
    ['Allowed', String(view.allowed)],
    ['Held', String(view.held)],
    ['Denied', String(view.denied)],
    ['Masked values', String(view.masked)],
  ]
  return `<h1>${escape(view.id)}</h1>${table(rows)}<p>Its recording, from a terminal:</p><pre>hoop-access sessions replay ${escape(view.id)}</pre>`
}

/** Who an identity is, where it came from, and the sessions of it and of those below it. */
export function identityPage(row: IdentityRow, sessions: readonly SessionView[]): string {
  const rows: readonly Row[] = [
    ['Stage', row.stage],
    ...(row.parent === null ? [] : [['Child of', row.parent, `/identities/${row.parent}`] as const]),
    ['Made', row.created_at],
    ['Expires', row.expires_at],
    ...(row.revoked_at === null ? [] : [['Revoked', `${row.revoked_at}: ${row.revoked_why ?? ''}`] as const]),
    ['Issuer', row.issuer],
    ...Object.entries(row.claims),
  ]
  const used = sessions.map(
    ({ id, stage, connection, allowed, held, denied, masked }): Row => [
      `${stage} on ${connection}`,
      `${id}: ${allowed} allowed, ${held} held, ${denied} denied, ${masked} values masked`,
      `/sessions/${id}`,
    ],
  )
  return `<h1>${escape(row.id)}</h1>${table(rows)}<h2>Sessions</h2>${used.length === 0 ? '<p>None.</p>' : table(used)}`
}

/** A name, a value, and where the value leads. */
type Row = readonly [string, string, string?]

function table(rows: readonly Row[]): string {
  const cells = rows.map(([name, value, path]) => {
    const text = escape(value)
    return `<tr><th>${escape(name)}<td>${path === undefined ? text : `<a href="${escape(path)}">${text}</a>`}`
  })
  return `<table>${cells.join('')}</table>`
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
