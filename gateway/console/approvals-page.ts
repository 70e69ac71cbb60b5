import { operationsIn } from '../approvals/gates/words.ts'
import type { ApprovalView } from '../core/contract.ts'
import { badge, deadline } from './approval-page.ts'
import { type Html, html } from './html.ts'
import { type Reader, moment, page } from './layout.ts'

const EXCERPT = 160

/** What waits, soonest deadline first, and what was decided of late. */
export function approvalsPage(
  views: { readonly pending: readonly ApprovalView[]; readonly over: readonly ApprovalView[] },
  reader: Reader,
): string {
  const pending = views.pending.toSorted((one, other) => one.expires_at.localeCompare(other.expires_at))
  return page({
    title: 'Approvals',
    reader,
    body: html`<div class="head"><h1>Approvals</h1></div>
<section aria-labelledby="pending" data-list="${pending.map(({ id }) => id).join(' ')}"><h2 id="pending">Waiting for people</h2>
${pending.length === 0 ? html`<p class="empty">Nothing waits. What is held for your groups shows up here.</p>` : list(pending)}</section>
${views.over.length > 0 && html`<section aria-labelledby="over"><h2 id="over">Over</h2>${list(views.over)}</section>`}`,
  })
}

function list(views: readonly ApprovalView[]): Html {
  return html`<ul class="rows">${views.map((view) => {
    const flat = view.statement.replaceAll(/\s+/g, ' ')
    return html`<li><a class="row" href="/approvals/${view.id}">
<span class="top"><b>${operationsIn(view)}</b> <span>on ${view.connection}</span> ${badge(view)}</span>
<code>${flat.length > EXCERPT ? `${flat.slice(0, EXCERPT)} …` : flat}</code>
<span class="bottom">${view.chain.map(({ stage }) => stage).join(' › ')} · asked of ${view.by.join(' and ')} · ${
      view.state === 'pending' ? deadline(view) : moment(view.requested_at)
    }</span></a></li>`
  })}</ul>`
}
