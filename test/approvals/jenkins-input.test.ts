import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { ApprovalView } from '../../gateway/core/contract.ts'
import { inputMessage } from '../../gateway/core/contract.ts'
import { type JenkinsApi, startJenkinsApi } from '../fakes/jenkins-api.ts'
import { never, question } from './desk.ts'
import { type PlatformDesk, jobIdentity, makePlatformDesk } from './platform-desk.ts'

let api: JenkinsApi
let desk: PlatformDesk

const configOf = (change: object = {}): object => ({
  issuers: {
    jenkins: {
      platform: 'jenkins',
      url: `${api.url}/oidc`,
      allow_private: true,
      user: api.user,
      token: api.token,
      ...change,
    },
  },
  people: { alice: { jenkins: 'alice' }, dev: { jenkins: 'dev' } },
  approvers: { dba: { members: ['alice', 'dev'], gates: [{ 'jenkins-input': {} }, { console: {} }] } },
})

beforeEach(async () => {
  api = await startJenkinsApi()
  desk = await makePlatformDesk(configOf())
})
afterEach(async () => {
  await desk.approvals.close()
  await api.close()
  expect(api.violations).toEqual([])
})

let builds = 7
/** A held request of a build of its own. */
async function ask(): Promise<{ view: ApprovalView; outcome: Promise<unknown>; look: () => Promise<void> }> {
  const number = String(builds++)
  const claims = { sub: `${api.url}/job/shop/`, build_number: number, kid: 'hoop-deploy' }
  const url = `${api.url}/job/shop/${number}/`
  const identity = await jobIdentity(desk, { platform: 'jenkins', claims, url })
  const { id, outcome } = await desk.approvals.ask(question({ identity }), never())
  await expect.poll(() => gateOf(id).then((gate) => gate?.state)).toBe('asked')
  const view = await desk.approvals.show(id)
  if (view === null) throw new Error('it is gone')
  const look = async (): Promise<void> => {
    desk.approvals.look(id, 'jenkins-input')
    await new Promise((resolve) => setTimeout(resolve, 150))
  }
  return { view, outcome, look }
}
const gateOf = async (id: string) =>
  (await desk.approvals.show(id))?.gates.find(({ gate }) => gate === 'jenkins-input')
const stateOf = async (id: string) => (await desk.approvals.show(id))?.state

describe('an input of the build', () => {
  it('that was answered as the controller says approves', async () => {
    const { view, outcome, look } = await ask()
    api.inputs.push({ id: view.id, message: inputMessage(view) })
    await look()
    api.proceed('alice')
    await look()
    expect(await outcome).toMatchObject({ answers: [{ person: 'alice', gate: 'jenkins-input' }] })
  })

  it('says nothing when it was aborted, never asked, or asked in other words', async () => {
    const { view, look } = await ask()
    api.build.approvers.push('alice')
    await look()
    api.inputs.push({ id: view.id, message: 'Deploy to staging?' })
    await look()
    api.proceed('alice')
    await look()
    api.inputs.push({ id: view.id, message: inputMessage(view) })
    await look()
    api.inputs.length = 0
    await look()
    await look()
    expect(await stateOf(view.id)).toBe('pending')
  })

  it('says nothing while another one waits in the build, which is shown', async () => {
    const { view, look } = await ask()
    api.inputs.push(
      { id: view.id, message: inputMessage(view) },
      { id: 'deploy', message: 'Deploy to staging?' },
    )
    await look()
    expect((await gateOf(view.id))?.failure).toContain('another `input`')
    api.inputs.length = 1
    api.build.approvers.push('alice')
    await look()
    expect(await stateOf(view.id)).toBe('pending')
    api.proceed('alice')
    await look()
    await expect.poll(() => stateOf(view.id)).toBe('used')
  })

  it('is not answered by who started the build, nor by somebody who is nobody here', async () => {
    const { view, look } = await ask()
    for (const user of ['dev', 'mallory']) {
      api.inputs.push({ id: view.id, message: inputMessage(view) })
      await look()
      api.proceed(user)
      await look()
      await expect.poll(() => gateOf(view.id).then((gate) => gate?.failure ?? '')).toMatch(/set off|nobody/)
    }
    expect(await stateOf(view.id)).toBe('pending')
  })

  it('is not answered by who started the build that started it, however far up; nor where that cannot be seen', async () => {
    const answeredBy = async (user: string, why: RegExp): Promise<void> => {
      const { view, look } = await ask()
      api.inputs.push({ id: view.id, message: inputMessage(view) })
      await look()
      api.proceed(user)
      await look()
      await expect.poll(() => gateOf(view.id).then((gate) => gate?.failure ?? '')).toMatch(why)
      expect(await stateOf(view.id)).toBe('pending')
    }
    api.jobs.set('shop', { starter: null, upstream: { job: 'build', number: 3 } })
    await answeredBy('alice', /\/job\/build\/3\/ cannot be seen/)
    api.jobs.set('build', { starter: null, upstream: { job: 'nightly', number: 12 } })
    // By whatever case the controller has it: it may tell users by it, or not.
    api.jobs.set('nightly', { starter: 'DEV' })
    await answeredBy('dev', /dev set off/)
    api.jobs.set('nightly', { starter: null, upstream: { job: 'shop', number: 7 } })
    const { view, look } = await ask()
    api.inputs.push({ id: view.id, message: inputMessage(view) })
    await look()
    api.proceed('alice')
    await expect.poll(() => stateOf(view.id)).toBe('used')
  })

  it.each([
    [
      'what nobody names: a push',
      { starter: null, cause: 'hudson.triggers.SCMTrigger$SCMTriggerCause' },
      /SCMTriggerCause, which is no person/,
    ],
    ['what was not logged in', { starter: null }, /UserIdCause, which is no person/],
    ['the controller itself', { starter: 'SYSTEM' }, /SYSTEM, which is no person/],
    [
      'a replay of which nobody is named',
      { starter: null, cause: 'org.jenkinsci.plugins.workflow.cps.replay.ReplayCause' },
      /does not name, which is no person/,
    ],
  ])('of a build that was started by %s is answered by nobody', async (_, by, why) => {
    Object.assign(api.build, by)
    const { view, look } = await ask()
    api.inputs.push({ id: view.id, message: inputMessage(view) })
    await look()
    api.proceed('alice')
    await look()
    await expect.poll(() => gateOf(view.id).then((gate) => gate?.failure ?? '')).toMatch(why)
    expect(await desk.approvals.show(view.id)).toMatchObject({ state: 'pending', answers: [] })
  })

  it.each([
    [
      'without the controller’s `user` and `token`',
      { user: undefined, token: undefined },
      /give the issuer `user`/,
    ],
    ['whose page is elsewhere', {}, /correct `url` of the issuer/],
  ])('of a build %s is answered by nobody, also by another gate', async (_, change, why) => {
    const other = await makePlatformDesk(configOf(change))
    const claims = { sub: `${api.url}/job/shop/`, build_number: '7', kid: 'hoop-deploy' }
    const identity = await jobIdentity(other, { platform: 'jenkins', claims })
    const { id } = await other.approvals.ask(question({ identity }), never())
    const given = { person: 'alice', gate: 'console', answer: 'approve', reason: '' } as const
    await expect(other.approvals.answer(id, given)).rejects.toMatchObject({
      code: 'denied',
      next: expect.stringMatching(why),
    })
    await other.approvals.close()
  })

  it('of a build that a timer started is answered by any member', async () => {
    Object.assign(api.build, { starter: null, cause: 'hudson.triggers.TimerTrigger$TimerTriggerCause' })
    const { view, look, outcome } = await ask()
    api.inputs.push({ id: view.id, message: inputMessage(view) })
    await look()
    api.proceed('alice')
    await look()
    expect(await outcome).toMatchObject({ answers: [{ person: 'alice' }] })
  })

  it('counts for nothing while the controller is down; the gate says so', async () => {
    const { view, look } = await ask()
    api.inputs.push({ id: view.id, message: inputMessage(view) })
    await look()
    api.fail(503)
    await look()
    expect((await gateOf(view.id))?.failure).toContain('Jenkins answers 503')
    api.fail(null)
    api.proceed('alice')
    await expect.poll(() => stateOf(view.id)).toBe('used')
  })
})
