import { z } from 'zod'
import { Refused } from '../../core/errors.ts'
import { answerHere } from '../answering.ts'
import { type Caller, notYours, scopeOf, sightOf } from '../caller.ts'
import type { ApprovalView } from '../../core/contract.ts'
import type { ApiParts, Routes } from '../parts.ts'
import { answerBody, approvalId, approvalQuery, approvalView, limitOf, problem, schemaOf } from '../shapes.ts'

const byId = schemaOf(z.object({ id: approvalId }))
const idOf = (params: unknown): string => z.object({ id: approvalId }).parse(params).id
const refusals = { '4xx': schemaOf(problem, 'output'), '5xx': schemaOf(problem, 'output') }

/** What is held, and people's answers to it. */
export const approvalRoutes: Routes = (app, parts) => {
  const { approvals, config } = parts

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
      const sight = sightOf(await parts.caller(request, reply), config())
      const query = approvalQuery.parse(request.query)
      const states = query.state === undefined ? undefined : [query.state]
      return approvals.list({ ...sight, states, before: query.before, limit: limitOf(query) })
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
      const caller = await parts.caller(request, reply)
      return findApproval(parts, idOf(request.params), caller)
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
        const person = personOf(caller)
        const id = idOf(request.params)
        const view = await findApproval(parts, id, caller)
        const { reason, break_glass: breakGlass } = answerBody.parse(request.body)
        const given = { person, answer, reason, breakGlass }
        const outcome = await answerHere(approvals, view, given, config())
        if (outcome.kind !== 'late') return findApproval(parts, id, caller)
        throw new Refused(
          'already_decided',
          `the answer came too late: the approval is ${outcome.state}`,
          'hoop-access approvals show tells what happened',
        )
      },
    )
  }
}

/** An approval that the caller may see, or `Refused` `not_found`. */
export async function findApproval(
  { approvals, config }: Pick<ApiParts, 'approvals' | 'config'>,
  id: string,
  caller: Caller,
): Promise<ApprovalView> {
  const { within, by } = sightOf(caller, config())
  const found = await approvals.show(id, within)
  if (found === null || (by !== undefined && !found.by.some((group) => by.includes(group))))
    throw notYours('approval', config())
  return found
}

/** Who answers: the operator, or a person of `people`; anybody else is refused. */
export function personOf(caller: Caller): string {
  if (caller.kind === 'operator') return 'operator'
  if (caller.kind === 'person' && caller.person.name !== null) return caller.person.name
  if (caller.kind === 'nobody') scopeOf(caller)
  throw new Refused(
    'denied',
    caller.kind === 'person'
      ? `${caller.person.shown} is nobody’s account in \`people\` of hoop.yaml`
      : 'an identity of a job cannot answer approvals, whoever runs the job',
    'have a person of the approver group answer it',
  )
}
