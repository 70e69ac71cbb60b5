import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { type Told, approvalPage } from '../../console/approval-page.ts'
import { approvalsPage } from '../../console/approvals-page.ts'
import { Refused } from '../../core/errors.ts'
import { answerHere, answeringOf } from '../answering.ts'
import { scopeOf, sightOf } from '../caller.ts'
import type { ApiParts } from '../parts.ts'
import { approvalId } from '../shapes.ts'
import { formOf, visitorOf } from '../visitor.ts'
import { findApproval, personOf } from './approvals.ts'
import { pageOf, send, signIn } from '../pages.ts'

const byId = z.object({ id: approvalId })
const answerForm = z.object({
  answer: z.enum(['approve', 'deny']),
  reason: z.string().max(4000).default(''),
  glass: z.literal('yes').optional(),
})
const told = z.object({ told: z.enum(['approved', 'denied', 'counted', 'late']) })
const PENDING_SHOWN = 500
const OVER_SHOWN = 50
const over = ['approved', 'used', 'denied', 'expired', 'withdrawn'] as const

/** The approver's side in a browser: what waits, one request with everything about it, and the form that answers it. */
export function approvalPages(app: FastifyInstance, parts: ApiParts): void {
  const { approvals, config } = parts

  app.get('/approvals', pageOf('What waits for people'), async (request, reply) => {
    const { caller, reader } = await visitorOf(request, reply, parts)
    if (caller.kind === 'nobody' || reader === null)
      return signIn(reply, parts, '/approvals', ['hoop-access approvals list'])
    const sight = sightOf(caller, config())
    const pending = await approvals.list({ ...sight, states: ['pending'], limit: PENDING_SHOWN })
    return send(
      reply,
      approvalsPage(
        { pending, over: await approvals.list({ ...sight, states: over, limit: OVER_SHOWN }) },
        reader,
      ),
    )
  })

  app.get('/approvals/state', { schema: { hide: true } }, async (request, reply) => {
    const { caller } = await visitorOf(request, reply, parts, false)
    if (caller.kind === 'nobody') scopeOf(caller)
    const sight = sightOf(caller, config())
    const pending = await approvals.list({ ...sight, states: ['pending'], limit: PENDING_SHOWN })
    const sorted = pending.toSorted((one, other) => one.expires_at.localeCompare(other.expires_at))
    return { pending: sorted.map(({ id }) => id).join(' ') }
  })

  app.get('/approvals/:id', pageOf('The page of an approval', byId), async (request, reply) => {
    const { id } = byId.parse(request.params)
    const { caller, reader } = await visitorOf(request, reply, parts)
    if (caller.kind === 'nobody') {
      return signIn(reply, parts, `/approvals/${id}`, [
        `hoop-access approvals show ${id}`,
        `hoop-access approvals approve ${id}`,
      ])
    }
    const view = await findApproval(parts, id, caller)
    const person = caller.kind === 'person' ? caller.person.name : null
    return send(
      reply,
      approvalPage(view, reader, {
        answering: answeringOf(view, person, config()),
        told: toldOf(request.query),
      }),
    )
  })

  app.get('/approvals/:id/state', { schema: { hide: true } }, async (request, reply) => {
    const { id } = byId.parse(request.params)
    const { caller } = await visitorOf(request, reply, parts, false)
    if (caller.kind === 'nobody') scopeOf(caller)
    const { state, answers } = await findApproval(parts, id, caller)
    return { state, answers: answers.length }
  })

  app.post('/approvals/:id/answer', pageOf('The answer of a person', byId), async (request, reply) => {
    const { id } = byId.parse(request.params)
    const { caller, reader } = await visitorOf(request, reply, parts)
    if (reader === null) {
      throw new Refused(
        'unauthenticated',
        'you are not logged in any more',
        `log in again at ${parts.url}/approvals/${id}`,
      )
    }
    const form = answerForm.safeParse(formOf(request, parts.url))
    if (!form.success) throw new Refused('invalid_request', 'the form is not whole', 'open the page again')
    const { answer, reason, glass } = form.data
    const person = personOf(caller)
    const view = await findApproval(parts, id, caller)
    const given = { person, answer, reason, breakGlass: glass === 'yes' }
    const outcome = await answerHere(approvals, view, given, config())
    const said: Told = outcome.kind === 'decided' ? outcome.state : outcome.kind
    // Seen again, or gone back to, nothing is sent twice.
    return reply.redirect(`/approvals/${id}?told=${said}`, 303)
  })
}

function toldOf(query: unknown): Told | null {
  const found = told.safeParse(query)
  return found.success ? found.data.told : null
}
