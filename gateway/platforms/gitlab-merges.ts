import { z } from 'zod'
import { type GitlabApi, lyingGitlab, readGitlab } from './gitlab.ts'

/** Of 100 entries each. */
const PAGES = 10
/** How many comments of a merge request are read, the newest first. */
export const NOTES_READ = PAGES * 100
/** Open merge requests with the same head. */
const MOST = 10

const user = z.object({ id: z.int() })
const mergeShape = z.object({
  iid: z.int(),
  project_id: z.int(),
  state: z.string(),
  sha: z.string().nullable(),
  author: user,
  web_url: z.string(),
})
const noteShape = z.object({
  id: z.int(),
  body: z.string(),
  author: user,
  system: z.boolean(),
  created_at: z.string(),
  updated_at: z.string(),
})
const approvalsShape = z.object({
  iid: z.int(),
  // `approved_at` since GitLab 18; before, a system note tells the time.
  approved_by: z.array(z.object({ user, approved_at: z.string().nullish() })),
})
const commitsShape = z.array(
  z.object({ author_email: z.string().nullish(), committer_email: z.string().nullish() }),
)
/** A merge request, by its number in its project. */
export type Merge = z.output<typeof mergeShape>
/** A comment, or a note of GitLab's own (`system`). */
export type Note = z.output<typeof noteShape>

/** When an account gave the approval that stands; null when none does, or its time is not told. */
export async function approvedAt(
  api: GitlabApi,
  { project_id: project, iid }: Merge,
  { id, notes }: { readonly id: number; readonly notes: readonly Note[] },
): Promise<number | null> {
  const found = readGitlab(
    approvalsShape,
    await api.MergeRequestApprovals.showConfiguration(project, { mergerequestIId: iid }),
  )
  if (found.iid !== iid) throw lyingGitlab('it is about another merge request')
  const given = found.approved_by.find((one) => one.user.id === id)
  if (given === undefined) return null
  const told = notes.findLast(
    ({ system, author, body }) => system && author.id === id && body === 'approved this merge request',
  )
  const at = Date.parse(given.approved_at ?? told?.created_at ?? '')
  return Number.isNaN(at) ? null : at
}

/** The open merge requests of a project whose head is this commit, ten at most. */
export async function mergesOf(api: GitlabApi, project: number, sha: string): Promise<readonly Merge[]> {
  const found = readGitlab(
    z.array(mergeShape),
    await api.Commits.allMergeRequests(project, sha, { perPage: 100, maxPages: 1 }),
  )
  return found
    .filter((merge) => merge.state === 'opened' && merge.sha === sha && merge.project_id === project)
    .slice(0, MOST)
}

/** The newest comments and notes of the system, a thousand at most. */
export async function notesOf(
  api: GitlabApi,
  { project, iid }: { readonly project: number; readonly iid: number },
): Promise<readonly Note[]> {
  const asked = { sort: 'desc', orderBy: 'created_at', perPage: 100, maxPages: PAGES } as const
  return readGitlab(z.array(noteShape), await api.MergeRequestNotes.all(project, iid, asked))
}

/** The addresses of who wrote and who committed what a merge request holds, in lower case. */
export async function addressesIn(
  api: GitlabApi,
  { project, iid }: { readonly project: number; readonly iid: number },
): Promise<readonly string[]> {
  const found = readGitlab(
    commitsShape,
    await api.MergeRequests.allCommits(project, iid, { perPage: 100, maxPages: PAGES }),
  )
  return found
    .flatMap((commit) => [commit.author_email, commit.committer_email])
    .flatMap((address) => (typeof address === 'string' ? [address.toLowerCase()] : []))
}

/** Comments, as the gateway's own account. */
export async function comment(
  api: GitlabApi,
  { project, iid }: { readonly project: number; readonly iid: number },
  body: string,
): Promise<Note> {
  return readGitlab(noteShape, await api.MergeRequestNotes.create(project, iid, body))
}
