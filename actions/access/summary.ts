import type { ActivityView, ApprovalView, SessionView } from '../../client/exchange.ts'

/** The job summary, as GitHub's Markdown: what was allowed, held and by whom answered, denied and masked. */
export function renderSummary(activity: ActivityView, notes: readonly string[]): string {
  const parts = ['### Hoop Access', ...notes.map((note) => `> ⚠️ ${cell(note)}`)]
  if (activity.sessions.length === 0) parts.push('No connection was used.')
  else {
    const rows = activity.sessions.slice(0, most).map(sessionRow)
    parts.push(table(['Session', 'Stage', 'Connection', 'Allowed', 'Held', 'Denied', 'Masked values'], rows))
  }
  if (activity.approvals.length > 0) {
    const rows = activity.approvals.slice(0, most).map(approvalRow)
    parts.push('#### Held', table(['Approval', 'Request', 'Statement', 'Rule', 'Answer'], rows))
  }
  const left = Math.max(0, activity.sessions.length - most) + Math.max(0, activity.approvals.length - most)
  if (left > 0) parts.push(`${left} more rows are left out here.`)
  return `${parts.join('\n\n')}\n`
}

/** GitHub keeps 1 MiB a step: rows are bounded, and each cell is. */
const most = 200

function sessionRow(session: SessionView): string[] {
  return [
    link(session.id, session.url),
    cell(session.stage),
    cell(session.connection),
    ...[session.allowed, session.held, session.denied, session.masked].map((count) => String(Number(count))),
  ]
}

function approvalRow(approval: ApprovalView): string[] {
  const operations = approval.operations
    .map(({ action, resource }) => `${action} ${resource}`.trim())
    .join(', ')
  const people = approval.answers.map(({ person, reason }) =>
    reason === '' ? person : `${person}: “${reason}”`,
  )
  const state = approval.state === 'used' ? 'approved' : approval.state
  return [
    link(approval.id, approval.url),
    cell(`${operations} on ${approval.connection}`),
    `<code>${cell(approval.statement)}</code>`,
    cell(approval.rule),
    cell(people.length === 0 ? state : `${state} by ${people.join(', ')}`),
  ]
}

function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  return [headings, headings.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n')
}

/** A statement is the job's own text and may be written to be read as Markdown or HTML: it is shown as text only. */
function cell(text: string): string {
  const short = text.length > 500 ? `${text.slice(0, 500)}…` : text
  return short
    .replace(/\s+/g, ' ')
    .replace(/[&<>"'|\\`*_[\]()~#!@:]/g, (found) => `&#${found.charCodeAt(0)};`)
}

function link(text: string, url: string): string {
  const target = URL.parse(url)
  if (target === null || !['https:', 'http:'].includes(target.protocol)) return cell(text)
  return `<a href="${target.href.replaceAll('"', '%22').replaceAll('|', '%7C')}">${cell(text)}</a>`
}
