import type { SessionView } from '../core/contract.ts'
import { type Html, html } from './html.ts'
import { type Reader, moment, page } from './layout.ts'

/** What stands at the root. */
export function frontPage(url: string, login: boolean, reader: Reader | null): string {
  return page({
    title: 'Gateway',
    reader,
    narrow: true,
    body: html`<section class="card"><h1>Hoop Access</h1>
<p>This gateway gives CI jobs identities of their stage, and decides, masks and records what they do. Its address is <code>${url}</code>.</p>
${reader !== null ? html`<p><a class="button approve" href="/approvals">Approvals</a></p>` : login && html`<p><a class="button approve" href="/login?to=%2Fapprovals">Log in</a></p>`}
<p class="hint"><a href="/openapi.json">Its interface</a> · <a href="/schema/hoop.json">the schema of its configuration</a></p></section>`,
  })
}

/** What happened in a session, in numbers, and how to see it played. */
export function sessionPage(view: SessionView, reader: Reader | null): string {
  return page({
    title: view.id,
    reader,
    body: html`<div class="head"><h1><code>${view.id}</code></h1></div>
<section class="card"><dl class="facts"><dt>Stage</dt><dd>${view.stage}</dd>
<dt>Identity</dt><dd><a href="/identities/${view.identity}"><code>${view.identity}</code></a></dd>
<dt>Connection</dt><dd>${view.connection} (${view.protocol})</dd>
<dt>Began</dt><dd>${moment(view.started_at)}</dd>
<dt>Ended</dt><dd>${view.ended_at === null ? 'it runs' : html`${moment(view.ended_at)}: ${view.end}`}</dd>
<dt>Allowed</dt><dd>${view.allowed}</dd><dt>Held</dt><dd>${view.held}</dd><dt>Denied</dt><dd>${view.denied}</dd>
<dt>Masked values</dt><dd>${view.masked}</dd></dl>
<p class="hint">Its recording, from a terminal:</p><pre><code>hoop-access sessions replay ${view.id}</code></pre></section>`,
  })
}

/** Who an identity is, where it came from, and the sessions of it and of those below it. */
export function identityPage(
  row: {
    readonly id: string
    readonly parent: string | null
    readonly stage: string
    readonly created_at: string
    readonly expires_at: string
    readonly revoked_at: string | null
    readonly revoked_why: string | null
    readonly issuer: string
    readonly claims: Readonly<Record<string, string>>
  },
  sessions: readonly SessionView[],
  reader: Reader | null,
): string {
  const { parent, revoked_at: revokedAt } = row
  return page({
    title: row.id,
    reader,
    body: html`<div class="head"><h1><code>${row.id}</code></h1></div>
<section class="card"><dl class="facts"><dt>Stage</dt><dd>${row.stage}</dd>
${parent !== null && html`<dt>Child of</dt><dd><a href="/identities/${parent}"><code>${parent}</code></a></dd>`}
<dt>Made</dt><dd>${moment(row.created_at)}</dd><dt>Expires</dt><dd>${moment(row.expires_at)}</dd>
${revokedAt !== null && html`<dt>Revoked</dt><dd>${moment(revokedAt)}: ${row.revoked_why}</dd>`}
<dt>Issuer</dt><dd>${row.issuer}</dd>
${Object.entries(row.claims).map(([claim, value]) => html`<dt>${claim}</dt><dd>${value}</dd>`)}</dl></section>
<section class="card"><h2>Sessions</h2>${sessions.length === 0 ? html`<p class="empty">None.</p>` : list(sessions)}</section>`,
  })
}

function list(sessions: readonly SessionView[]): Html {
  return html`<ul class="rows">${sessions.map(
    ({
      id,
      stage,
      connection,
      allowed,
      held,
      denied,
      masked,
    }) => html`<li><a class="row" href="/sessions/${id}">
<span class="top"><b>${stage}</b> <span>on ${connection}</span></span><code>${id}</code>
<span class="bottom">${allowed} allowed, ${held} held, ${denied} denied, ${masked} values masked</span></a></li>`,
  )}</ul>`
}
