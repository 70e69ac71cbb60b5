import { operationsIn, outcomeIn, visible } from '../approvals/gates/words.ts'
import type { ApprovalView } from '../core/contract.ts'
import { type Html, type Piece, html } from './html.ts'
import { type Reader, moment, page } from './layout.ts'

/** What a reader may do about an approval. */
export interface Answering {
  /** Groups that an answer of theirs counts for. */
  readonly groups: readonly string[]
  /** Groups for which they may break the glass. */
  readonly glass: readonly string[]
  /** True when one of the groups wants a reason of who approves. */
  readonly reason: boolean
}

/** What a reader is told of the answer that they just gave. */
export type Told = 'approved' | 'denied' | 'counted' | 'late'

export const stateWords: Readonly<Record<ApprovalView['state'], string>> = {
  pending: 'Waiting',
  approved: 'Approved',
  denied: 'Denied',
  expired: 'Expired',
  withdrawn: 'Withdrawn',
  used: 'Approved and used',
}

/** Everything about one held request, and the form that answers it. */
export function approvalPage(
  view: ApprovalView,
  reader: Reader | null,
  how: { readonly answering: Answering; readonly told: Told | null },
): string {
  const title = `${operationsIn(view)} on ${view.connection}`
  return page({
    title,
    reader,
    body: html`${how.told !== null && notice(how.told, view)}
<div class="head">
<p class="crumb"><a href="/approvals">Approvals</a> <span aria-hidden="true">/</span> <code>${view.id}</code></p>
<h1>${title}</h1>
<p class="status" role="status" data-approval="${view.id}" data-state="${view.state}" data-answers="${view.answers.length}">${badge(view)} ${view.state === 'pending' ? deadline(view) : outcomeIn(view)}</p>
</div>
<div class="columns">
<div class="main">
${statement(view)}
${operations(view)}
${whence(view)}
${answers(view)}
</div>
<div class="side">
${view.state === 'pending' ? (reader === null ? commands(view) : form(view, reader, how.answering)) : null}
${groups(view)}
${gates(view)}
${alarms(view)}
${binding(view)}
</div>
</div>`,
  })
}

export function badge({ state, answers }: ApprovalView): Html {
  const glass = answers.some(({ break_glass: broken }) => broken)
  return html`<span class="badge ${state}">${stateWords[state]}</span>${glass && html` <span class="badge denied">Glass broken</span>`}`
}

export function deadline(view: ApprovalView): Html {
  return html`<span class="deadline">until ${moment(view.expires_at)} <b data-countdown="${view.expires_at}"></b></span>`
}

function notice(told: Told, view: ApprovalView): Html {
  const words = {
    approved: ['good', 'Your answer was the one that was missing: the request goes on.'],
    denied: ['good', 'You denied it: the request is refused.'],
    counted: ['good', 'Your answer counts. Others have to answer too.'],
    late: ['warn', `Your answer came too late: it was ${stateWords[view.state].toLowerCase()} before.`],
  } as const
  const [tone, text] = words[told]
  return html`<p class="notice ${tone}" role="alert">${text}</p>`
}

function section(name: string, body: Piece, more: Piece = null): Html {
  return html`<section class="card"><h2>${name}${more}</h2>${body}</section>`
}

/** All of it, wrapped: nothing can hide beyond an edge. */
function statement(view: ApprovalView): Html {
  const lines = view.statement.split('\n').length
  const strange = visible(view.statement) !== view.statement
  return section(
    'What will run',
    html`${strange && html`<p class="notice warn">It holds characters that hide or reorder text. They are shown as <code>\\u{…}</code>.</p>`}
<pre class="statement" tabindex="0" aria-label="The request"><code>${view.statement}</code></pre>
<p class="hint">${
      view.masks.length > 0
        ? html`Values that meet masked columns are hidden here, and masked in what comes back: ${view.masks.map((mask) => html`<code class="chip">${mask}</code> `)}`
        : 'Exactly this text with these values, and nothing else, is let through.'
    }</p>`,
    html` <small>${lines === 1 ? '1 line' : `${lines} lines`}, ${view.statement.length} characters</small>`,
  )
}

function operations(view: ApprovalView): Html {
  return section(
    'What it does',
    html`<ul class="chips">${view.operations.map(
      ({ action, resource, dry_run: tried }) =>
        html`<li>${tried !== undefined && (tried ? 'dry run: ' : 'dry run or not: ')}<b>${action}</b> ${resource}</li>`,
    )}</ul>
<dl class="facts"><dt>Connection</dt><dd><code>${view.connection}</code></dd>
<dt>Rule</dt><dd><code>${view.rule}</code></dd></dl>`,
  )
}

function whence(view: ApprovalView): Html {
  const { run } = view
  const linked = run !== null && /^https?:\/\//i.test(run)
  return section(
    'Who asks',
    html`<ol class="chain" aria-label="Identities from the job down">${view.chain.map(
      ({ id, stage }) => html`<li><a href="/identities/${id}"><b>${stage}</b><code>${id}</code></a></li>`,
    )}</ol>
<dl class="facts"><dt>Asked</dt><dd>${moment(view.requested_at)}</dd>
${run !== null && html`<dt>Run</dt><dd>${linked ? html`<a href="${run}" rel="noopener noreferrer" target="_blank">${run}</a>` : run}</dd>`}</dl>`,
  )
}

function answers(view: ApprovalView): Html | null {
  if (view.answers.length === 0) return null
  return section(
    'Answers',
    html`<ol class="answers">${view.answers.map(
      ({ person, group, gate, answer, reason, at, break_glass: glass }) => html`<li class="${answer}">
<p><b>${person}</b> ${answer === 'approve' ? (glass ? 'broke the glass' : 'approved') : 'denied'} for ${group} by ${gate}, ${moment(at)}</p>
${reason !== '' && html`<blockquote>${reason}</blockquote>`}</li>`,
    )}</ol>`,
  )
}

function groups(view: ApprovalView): Html {
  return section(
    'Who may answer',
    html`<ul class="groups">${view.groups.map(
      ({ name, people, required, missing, reason, break_glass: glass }) => {
        const given = Math.max(0, required - missing)
        return html`<li><p><b>${name}</b> <span class="count">${given} of ${required}</span></p>
<progress max="${required}" value="${given}" aria-label="${given} of ${required} for ${name}"></progress>
<p class="hint">${people.join(', ')}${reason === 'required' && ' · a reason is required'}${glass !== null && ` · ${glass} may break the glass`}</p></li>`
      },
    )}</ul>
<p class="hint">Never who set off the job. One denial denies.</p>`,
  )
}

function gates(view: ApprovalView): Html {
  const words = { asking: 'being asked', asked: 'asked', failed: 'failed' } as const
  return section(
    'Where people are asked',
    html`<ul class="gates">${view.gates.map(
      ({ gate, state, url, failure }) =>
        html`<li class="${state}"><p><b>${gate}</b> <span>${words[state]}</span>${
          url !== null &&
          /^https?:\/\//i.test(url) &&
          html` <a href="${url}" rel="noopener noreferrer" target="_blank">open</a>`
        }</p>${failure !== null && html`<p class="failure">${failure}</p>`}</li>`,
    )}</ul>`,
  )
}

/** The list looks as that of the gates does. */
function alarms(view: ApprovalView): Html | null {
  if (view.alarms.length === 0) return null
  const words = { telling: 'being told', told: 'told', failed: 'failed', untold: 'given up' } as const
  return section(
    'Who is told that the glass was broken',
    html`<ul class="gates">${view.alarms.map(
      ({ gate, to, state, failure }) =>
        html`<li class="${state === 'untold' ? 'failed' : state}"><p><b>${gate}${to !== null && ` ${to}`}</b> <span>${words[state]}</span></p>${
          failure !== null && html`<p class="failure">${failure}</p>`
        }</li>`,
    )}</ul>`,
  )
}

function binding(view: ApprovalView): Html {
  return section(
    'What an approval covers',
    html`<dl class="facts"><dt>Reach</dt><dd>${view.reach === 'once' ? 'once' : view.reach === 'identity' ? 'as long as this identity lives' : view.reach}</dd>
<dt>Policy</dt><dd><code>${view.policy}</code></dd>
<dt>Digest</dt><dd><code class="digest">${view.digest}</code></dd></dl>`,
  )
}

/** For a caller who has no login, such as the operator by a token. */
function commands({ id }: ApprovalView): Html {
  return section(
    'Your answer',
    html`<p class="hint">From a terminal:</p><pre>hoop-access approvals approve ${id}\nhoop-access approvals deny ${id}</pre>`,
  )
}

function form(view: ApprovalView, reader: Reader, { groups: mine, glass, reason }: Answering): Html {
  if (mine.length === 0 && glass.length === 0) {
    return section(
      'Your answer',
      html`<p class="hint">You are in none of the groups that are asked here.</p>`,
    )
  }
  const token = html`<input type="hidden" name="token" value="${reader.formToken}">`
  const action = `/approvals/${view.id}/answer`
  return html`<section class="card answer"><h2>Your answer</h2>
${
  mine.length > 0 &&
  html`<form method="post" action="${action}">${token}
<p class="hint">As ${reader.shown}, for ${mine.join(' and ')}.</p>
<label for="reason">Reason <small>${reason ? 'required to approve' : 'optional'}; kept with the record</small></label>
<textarea id="reason" name="reason" rows="3" maxlength="1000" data-required-for="approve" ${reason && html`data-required`}></textarea>
<div class="buttons"><button class="approve" name="answer" value="approve">Approve</button>
<button class="deny" name="answer" value="deny">Deny</button></div></form>`
}
${
  glass.length > 0 &&
  html`<details class="glass"><summary>Break the glass</summary>
<form method="post" action="${action}">${token}<input type="hidden" name="glass" value="yes">
<p class="hint">Lets it pass alone, for ${glass.join(' and ')}. Everybody is told, and it is recorded.</p>
<label for="glass-reason">Reason <small>required</small></label>
<textarea id="glass-reason" name="reason" rows="3" maxlength="1000" required></textarea>
<div class="buttons"><button class="break" name="answer" value="approve">Break the glass</button></div></form></details>`
}
</section>`
}
