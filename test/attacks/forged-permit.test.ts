import { expect, test } from 'vitest'
import { Gate, type Permit, checkPermit } from '../../gateway/core/gate.ts'
import { policy } from '../core/doubles.ts'

const gate = new Gate(() => policy({}), new Uint8Array(32))

test('a permit is good for the session it was minted for and no other', () => {
  const session = {}
  const permit = gate.permit(session, null)
  expect(() => checkPermit(permit, session)).not.toThrow()
  expect(() => checkPermit(permit, {})).toThrow('another session')
})

test('a look-alike, a copy and a prototype forgery throw when they are read', () => {
  const session = {}
  const real = gate.permit(session, null)
  const forgeries: unknown[] = [
    {},
    Object.assign({}, real),
    Object.create(Object.getPrototypeOf(real)),
    structuredClone(Object.assign({}, real)),
  ]
  for (const forgery of forgeries) {
    expect(() => checkPermit(forgery as Permit, session)).toThrow(TypeError)
  }
})

test('the class that mints permits is not exported', async () => {
  const exports = await import('../../gateway/core/gate.ts')
  expect(Object.keys(exports).sort()).toEqual(['Gate', 'checkPermit'])
})
