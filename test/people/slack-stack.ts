import { type Message, type Slack, startSlack } from '../fakes/slack.ts'
import { eventually } from '../flows/stack.ts'
import { type Answer, ask } from './browser.ts'
import { type PeopleStack, startPeopleStack } from './stack.ts'

/** A gateway that asks in Slack: the group `dba` about deletions in #dba, `sre` about DDL in #sre, with a reason. */
export interface SlackStack extends PeopleStack {
  readonly slack: Slack
  /** The message about an approval, once it is there. */
  readonly message: (id: string) => Promise<Message>
  /** Hands an interaction in, signed. */
  readonly deliver: (payload: object, how?: { at?: number; secret?: string }) => Promise<Answer>
}

export async function startSlackStack(): Promise<SlackStack> {
  const slack = await startSlack()
  const stack = await startPeopleStack({
    approvers: `  dba: { members: [alice, bob, carol], gates: [{ slack: { channel: "#dba" } }, { console: {} }], timeout: 10m }
  sre: { members: [alice], gates: [{ slack: { channel: "#sre" } }], reason: required }`,
    stages: (yaml) =>
      yaml.replace('[ddl, delete], by: dba', '[delete], by: dba }, { operations: [ddl], by: sre'),
    more: `slack: { token: ${slack.token}, signing_secret: ${slack.signingSecret}, api: "${slack.url}" }`,
  })
  return {
    ...stack,
    slack,
    message: (id) =>
      eventually(async () => {
        const found = slack.messages.find(({ blocks }) => JSON.stringify(blocks).includes(id))
        if (found === undefined) throw new Error('no message')
        return found
      }),
    deliver: (payload, how) =>
      ask(new URL('/hooks/slack', stack.url), { ca: stack.ca, method: 'POST', ...slack.sign(payload, how) }),
    async close() {
      await stack.close()
      await slack.close()
    },
  }
}
