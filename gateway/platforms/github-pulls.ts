import { z } from 'zod'
import { Refused } from '../core/errors.ts'
import { type Github, lying } from './github.ts'

const PAGES = 10

const user = z.object({ id: z.int(), login: z.string(), type: z.string() })
const pullShape = z.object({
  number: z.int(),
  state: z.string(),
  user: user.nullable(),
  head: z.object({ sha: z.string() }),
  base: z.object({ repo: z.object({ id: z.int(), full_name: z.string() }) }),
})
const reviewShape = z.object({
  id: z.int(),
  node_id: z.string(),
  user: user.nullable(),
  body: z.string(),
  state: z.string(),
  commit_id: z.string().nullable(),
  submitted_at: z.string().optional(),
})
type Pull = z.output<typeof pullShape>
/** A review of a pull request (https://docs.github.com/en/rest/pulls/reviews). */
export type Review = z.output<typeof reviewShape>
const editedShape = z.object({
  data: z.object({
    node: z.object({
      id: z.string(),
      body: z.string(),
      lastEditedAt: z.string().nullable(),
      author: z.object({ databaseId: z.int().optional() }).nullable(),
    }),
  }),
})
const editedQuery = `query ($id: ID!) {
  node(id: $id) { ... on PullRequestReview { id body lastEditedAt author { ... on User { databaseId } } } }
}`

/** The open pull requests whose head a commit is. */
export async function openPulls(
  github: Github,
  {
    repository,
    sha,
    signal,
  }: { readonly repository: string; readonly sha: string; readonly signal: AbortSignal },
): Promise<readonly Pull[]> {
  const found = await github.ask(z.array(pullShape), {
    repository,
    permissions: { pull_requests: 'read' },
    path: `/commits/${sha}/pulls?per_page=100`,
    signal,
  })
  return found.filter(({ state, head }) => state === 'open' && head.sha === sha)
}

/** All reviews of a pull request, the oldest first. */
export async function readPullReviews(
  github: Github,
  {
    repository,
    pull,
    signal,
  }: { readonly repository: string; readonly pull: number; readonly signal: AbortSignal },
): Promise<readonly Review[]> {
  const reviews: Review[] = []
  for (let page = 1; page <= PAGES; page++) {
    const found = await github.ask(z.array(reviewShape), {
      repository,
      permissions: { pull_requests: 'read' },
      path: `/pulls/${pull}/reviews?per_page=100&page=${page}`,
      signal,
    })
    reviews.push(...found)
    if (found.length < 100) return reviews
  }
  // Somebody may have written so many to push what another said out of sight.
  throw new Refused(
    'denied',
    `pull request ${pull} has more than the ${PAGES * 100} reviews that are read`,
    'answer by another gate',
  )
}

/** The id of the account that wrote a review which nobody has edited; REST does not tell of edits. */
export async function authorOf(
  github: Github,
  repository: string,
  review: Review,
  signal: AbortSignal,
): Promise<number> {
  const { data } = await github.ask(editedShape, {
    repository,
    permissions: { pull_requests: 'read' },
    method: 'POST',
    path: '/graphql',
    body: { query: editedQuery, variables: { id: review.node_id } },
    signal,
  })
  const { id, lastEditedAt, author, body } = data.node
  if (id !== review.node_id || body !== review.body || author?.databaseId !== review.user?.id)
    throw lying('it is about another review')
  if (lastEditedAt !== null) {
    throw new Refused(
      'denied',
      `review ${review.id} was edited after it was given, which others may do too`,
      'review again, with the id in the text',
    )
  }
  return author?.databaseId ?? Number.NaN
}
