import { z } from 'zod'
import { Refused } from '../../core/errors.ts'
import type { Origin } from '../../core/identity.ts'
import { type GitlabApi, gitlabSelf, wantPerson } from '../../platforms/gitlab.ts'
import {
  type Merge,
  type Note,
  addressesIn,
  approvedAt,
  comment,
  mergesOf,
  NOTES_READ,
  notesOf,
} from '../../platforms/gitlab-merges.ts'
import type { Config } from '../../policy/schema.ts'
import type { Alarm, AnswerDesk, ApprovalGate, Posted, Posting } from './gate.ts'
import { alarmIn, operationsIn, outcomeIn, visible } from './words.ts'

const NAME = 'gitlab-merge-request'
const LOOK_MS = 20_000
const handleShape = z.object({
  project: z.int(),
  sha: z.string(),
  notes: z.array(z.object({ iid: z.int(), note: z.int() })),
})
type Handle = z.output<typeof handleShape>

/** The commit that a job runs. */
interface Job {
  readonly api: GitlabApi
  readonly project: number
  readonly sha: string
}

/** What a comment says: `approve apr_…` or `deny apr_…` first, then why. */
const spoken = /^`?(approve|deny)\s+`?(apr_[a-z2-7]{26})`?(?:[\s:,]+([^]*))?$/i

/**
 * Asks by a comment on the open merge request whose head the job runs. GitLab's approval of a merge request names no request
 * and carries no text, so two things are wanted of the same person, both from after the question: the approval, for which
 * GitLab checks who may, and a comment that names the id. Whoever may maintain a project may edit what others wrote, so an
 * edited comment says nothing.
 */
export class GitlabMergeRequestGate implements ApprovalGate {
  readonly name = NAME
  readonly lookEvery = LOOK_MS
  readonly #apis: ReadonlyMap<string, GitlabApi>
  readonly #config: () => Config
  readonly #desk: AnswerDesk
  readonly #waiting = new Map<string, string>()

  constructor(options: {
    readonly apis: ReadonlyMap<string, GitlabApi>
    readonly config: () => Config
    readonly desk: AnswerDesk
  }) {
    this.#apis = options.apis
    this.#config = options.config
    this.#desk = options.desk
  }

  async announce(posting: Posting): Promise<Posted> {
    const { api, project, sha } = this.#jobOf(posting.origin)
    const merges = await mergesOf(api, project, sha)
    const [first] = merges
    if (first === undefined) {
      throw new Refused(
        'upstream_failed',
        `no open merge request has ${sha.slice(0, 12)} as its head`,
        'answer by another gate, or run the job for a merge request',
      )
    }
    const notes: Handle['notes'][number][] = []
    for (const { iid } of merges) {
      // Tried again after an answer that was lost, it is there already.
      const known = await this.#askedBefore(posting, { api, project, iid })
      const note = known ?? (await comment(api, { project, iid }, questionOf(posting)))
      notes.push({ iid, note: note.id })
    }
    this.#waiting.set(posting.approval.id, `${project} ${sha}`)
    const handle: Handle = { project, sha, notes }
    const url = `${first.web_url}#note_${notes[0]?.note}`
    return { handle: JSON.stringify(handle), ...(URL.canParse(url) && { url }) }
  }

  async look(posting: Posting): Promise<void> {
    const { approval, origin } = posting
    const { project, sha } = readHandle(posting)
    this.#waiting.set(approval.id, `${project} ${sha}`)
    const { api } = this.#jobOf(origin)
    const merges = await mergesOf(api, project, sha)
    if (merges.length === 0) {
      throw new Refused(
        'denied',
        `${sha.slice(0, 12)} is the head of no open merge request any more`,
        'answer by another gate, or run the job for the new head',
      )
    }
    let refused: unknown = null
    for (const merge of merges) {
      const { said, notes } = await this.#heard(api, merge, posting)
      for (const note of said) {
        try {
          await this.#answer(posting, { api, merge, note, notes })
        } catch (error) {
          refused ??= error
        }
      }
    }
    if (refused !== null) throw refused
  }

  async conclude(posting: Posting): Promise<void> {
    const { approval, origin } = posting
    this.#waiting.delete(approval.id)
    const { api, project, sha } = this.#jobOf(origin)
    const { notes } =
      posting.handle === null
        ? { notes: await this.#allAsked(posting, { api, project, sha }) }
        : readHandle(posting)
    const body = `${subjectOf(posting)}\n\n${outcomeIn(approval)}\n\n${approval.url}`
    for (const { iid, note } of notes) await api.MergeRequestNotes.edit(project, iid, note, { body })
  }

  /** On the merge requests of the commit that the job runs, if there are any, whatever group was asked. */
  async alarm(alarm: Alarm): Promise<void> {
    const { approval, origin, glass } = alarm
    if (origin?.platform !== 'gitlab' || !this.#apis.has(origin.issuer)) return
    const { api, project, sha } = this.#jobOf(origin)
    const body = `**The glass was broken:** ${subjectOf(alarm)} went through without the people whom the rule asks. ${code(alarmIn(glass))}\n\n${approval.url}`
    const self = await gitlabSelf(api)
    for (const { iid } of await mergesOf(api, project, sha)) {
      // Told again, it is there already.
      const notes = await notesOf(api, { project, iid })
      if (!notes.some((note) => note.author.id === self && note.body === body))
        await comment(api, { project, iid }, body)
    }
  }

  /** The comment by which this was asked on a merge request. */
  async #askedBefore(
    { approval }: Posting,
    { api, project, iid }: { readonly api: GitlabApi; readonly project: number; readonly iid: number },
  ): Promise<Note | undefined> {
    const self = await gitlabSelf(api)
    return (await notesOf(api, { project, iid })).find(
      ({ author, body, system }) => !system && author.id === self && body.includes(approval.id),
    )
  }

  /** The same on every merge request of the commit: where the answer was lost that told which. */
  async #allAsked(posting: Posting, { api, project, sha }: Job): Promise<Handle['notes']> {
    const notes: Handle['notes'][number][] = []
    for (const { iid } of await mergesOf(api, project, sha)) {
      const asked = await this.#askedBefore(posting, { api, project, iid })
      if (asked !== undefined) notes.push({ iid, note: asked.id })
    }
    return notes
  }

  /** A merge request was approved or commented. */
  nudge(project: number, sha: string): void {
    for (const [approval, commit] of this.#waiting)
      if (commit === `${project} ${sha}`) this.#desk.look(approval, NAME)
  }

  /** What each person said last about this question, since it was asked; who denies comes first. */
  async #heard(
    api: GitlabApi,
    merge: Merge,
    { approval }: Posting,
  ): Promise<{ readonly said: readonly Note[]; readonly notes: readonly Note[] }> {
    const self = await gitlabSelf(api)
    const since = Date.parse(approval.requested_at)
    const found = await notesOf(api, { project: merge.project_id, iid: merge.iid })
    const notes = found
      .filter(({ created_at: at }) => Date.parse(at) >= since)
      .toSorted((one, other) => Date.parse(one.created_at) - Date.parse(other.created_at))
    // Somebody may have written so many to push what another said out of sight.
    if (notes.length >= NOTES_READ) {
      throw new Refused(
        'denied',
        `more was said than the ${NOTES_READ} comments that are read`,
        'answer by another gate',
      )
    }
    const last = new Map<number, Note>()
    for (const note of notes) {
      if (note.system || note.author.id === self) continue
      if (spoken.exec(note.body.trim())?.[2] === approval.id) last.set(note.author.id, note)
    }
    // In the alphabet `deny` comes after `approve`.
    const said = [...last.values()].toSorted((one, other) => verbOf(other).localeCompare(verbOf(one)))
    return { said, notes }
  }

  async #answer(
    { approval, groups }: Posting,
    {
      api,
      merge,
      note,
      notes,
    }: {
      readonly api: GitlabApi
      readonly merge: Merge
      readonly note: Note
      readonly notes: readonly Note[]
    },
  ): Promise<void> {
    const { id } = note.author
    const [, , , reason = ''] = spoken.exec(note.body.trim()) ?? []
    if (note.updated_at !== note.created_at) {
      throw new Refused(
        'denied',
        `comment ${note.id} was edited after it was written, which others may do too`,
        'write a new one',
      )
    }
    const answer = verbOf(note)
    if (answer === 'approve') {
      if (id === merge.author.id) throw own(id, 'opened the merge request')
      await wantPerson(api, id)
      await this.#wantNoCommitter(api, merge, id)
      const at = await approvedAt(api, merge, { id, notes })
      if (!(at !== null && at >= Date.parse(approval.requested_at))) {
        throw new Refused(
          'denied',
          `account ${id} has not approved the merge request since this was asked`,
          'approve it, or revoke the older approval and approve again',
        )
      }
    }
    const account = { kind: 'gitlab', id } as const
    await this.#desk.answer(approval.id, { account, gate: NAME, groups, answer, reason: reason.trim() })
  }

  /** Commits name addresses and no accounts: those of `people`, and those that GitLab gives out for an account. */
  async #wantNoCommitter(api: GitlabApi, { project_id: project, iid }: Merge, id: number): Promise<void> {
    const email = Object.values(this.#config().people)
      .find(({ gitlab }) => gitlab === id)
      ?.email?.toLowerCase()
    const wrote = (await addressesIn(api, { project, iid })).some(
      (address) => address === email || address.startsWith(`${id}-`),
    )
    if (wrote) throw own(id, 'has commits in the merge request')
  }

  #jobOf(origin: Origin | null): Job {
    const api = origin === null ? undefined : this.#apis.get(origin.issuer)
    const { project_id: code = '', job_project_id: runs = code, sha = '' } = origin?.claims ?? {}
    if (api !== undefined && /^\d{1,15}$/.test(runs) && /^[0-9a-f]{40}([0-9a-f]{24})?$/.test(sha))
      return { api, project: Number(runs), sha }
    throw new Refused(
      'unsupported',
      'the job is not of a GitLab issuer with a `token`, so there is no merge request to ask on',
      'answer by another gate',
    )
  }
}

const verbOf = ({ body }: Note): 'approve' | 'deny' =>
  spoken.exec(body.trim())?.[1]?.toLowerCase() === 'approve' ? 'approve' : 'deny'

/** What everybody may read who reads the merge request: what is done to what, and not the statement. */
function questionOf(posting: Posting): string {
  const { approval, groups } = posting
  return [
    `Approval wanted: ${subjectOf(posting)}`,
    '',
    `Asked of ${groups.join(', ')} by rule ${code(approval.rule)}, until ${approval.expires_at}. What exactly is asked: ${approval.url}`,
    '',
    `To let it pass, approve this merge request (revoke an older approval first) and comment ${code(`approve ${approval.id}`)}. To refuse it, comment ${code(`deny ${approval.id}`)}. A reason may follow.`,
  ].join('\n')
}

const subjectOf = ({ approval }: Posting): string =>
  `${code(operationsIn(approval))} on ${code(approval.connection)}`

/** Names of tables and the like are the job's: on a line of their own they could be one of GitLab's quick actions, and mention people. */
function code(text: string): string {
  return `\`${visible(text).replaceAll(/\s+/g, ' ').replaceAll('`', "'")}\``
}

function own(id: number, what: string): Refused {
  return new Refused('denied', `account ${id} ${what}`, 'have somebody else approve it')
}

function readHandle({ handle }: Posting): Handle {
  return handleShape.parse(JSON.parse(handle ?? 'null'))
}
