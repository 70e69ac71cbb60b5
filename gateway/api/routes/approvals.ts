import { z } from 'zod'
import { Refused } from '../../core/errors.ts'
import { notYours, scopeOf } from '../caller.ts'
import type { Routes } from '../parts.ts'
import { answerBody, approvalId, approvalQuery, approvalView, limitOf, problem, schemaOf } from '../shapes.ts'

const byId = schemaOf(z.object({ id: approvalId }))
const idOf = (params: unknown): string => z.object({ id: approvalId }).parse(params).id
const refusals = { '4xx': schemaOf(problem, 'output'), '5xx': schemaOf(problem, 'output') }

/** What is held, and people's answers to it. */
export const approvalRoutes: Routes = (app, parts) => {
  const { approvals } = parts

  app.get(
    '/api/v1/approvals',
    {
      schema: {
        summary: 'Approvals, newest first: all, or those of the caller and below',
        tags: ['approvals'],
        querystring: schemaOf(approvalQuery),
        response: { 200: schemaOf(z.array(approvalView), 'output'), ...refusals },
      },
    },
    async (request, reply) => {
      const within = scopeOf(await parts.caller(request, reply))
      const query = approvalQuery.parse(request.query)
      const states = query.state === undefined ? undefined : [query.state]
      return approvals.list({ within, states, before: query.before, limit: limitOf(query) })
    },
  )

  app.get(
    '/api/v1/approvals/:id',
    {
      schema: {
        summary: 'One approval',
        tags: ['approvals'],
        params: byId,
        response: { 200: schemaOf(approvalView, 'output'), ...refusals },
      },
    },
    async (request, reply) => {
      const within = scopeOf(await parts.caller(request, reply))
      const found = await approvals.show(idOf(request.params), within)
      if (found === null) throw notYours('approval')
      return found
    },
  )

  for (const answer of ['approve', 'deny'] as const) {
    app.post(
      `/api/v1/approvals/:id/${answer}`,
      {
        schema: {
          summary: answer === 'approve' ? 'Let a held request go on' : 'Refuse a held request',
          tags: ['approvals'],
          params: byId,
          body: schemaOf(answerBody),
          response: { 200: schemaOf(approvalView, 'output'), ...refusals },
        },
      },
      async (request, reply) => {
        const caller = await parts.caller(request, reply)
        scopeOf(caller)
        if (caller.kind !== 'operator') {
          throw new Refused(
            'denied',
            'an identity of a job cannot answer approvals, whoever runs the job',
            'have a person of the approver group answer it',
          )
        }
        const id = idOf(request.params)
        const { reason, break_glass: breakGlass } = answerBody.parse(request.body)
        const given = { person: 'operator', gate: 'console', answer, reason, breakGlass }
        const outcome = await approvals.answer(id, given)
        const view = await approvals.show(id)
        if (view === null) throw notYours('approval')
        if (outcome.kind !== 'late') return view
        throw new Refused(
          'already_decided',
          `the answer came too late: the approval is ${outcome.state}`,
          'hoop-access approvals show tells what happened',
        )
      },
    )
  }
}
