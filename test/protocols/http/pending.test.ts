import { expect, test } from 'vitest'
import { problemOf } from '../../../gateway/api/problem.ts'
import { Refused } from '../../../gateway/core/errors.ts'

test('a request that still waits for people is told to come again', () => {
  const { status, headers, body } = problemOf(new Refused('approval_pending', 'it is pending', 'come again'))
  expect(status).toBe(429)
  expect(Number(headers['retry-after'])).toBeGreaterThan(0)
  expect(body).toMatchObject({ code: 'approval_pending', next: 'come again' })
})
