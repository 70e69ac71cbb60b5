import { Refused } from '../core/errors.ts'
import type { Config, StageConfig } from '../policy/schema.ts'
import type { PlatformToken } from './issuers.ts'

/** The stage that a verified token may become, `reviewed` if only once people have let the job through; throws `Refused` that says which claim of which subject did not match. */
export function matchStage(
  config: Config,
  stageName: string,
  token: PlatformToken,
): { readonly stage: StageConfig; readonly reviewed: boolean } {
  const stage = Object.hasOwn(config.stages, stageName) ? config.stages[stageName] : undefined
  if (stage === undefined) {
    throw new Refused(
      'invalid_scope',
      `there is no stage named ${JSON.stringify(stageName)}`,
      'check the name of the stage',
    )
  }
  const subjects = stage.subjects ?? []
  if (subjects.length === 0) {
    throw new Refused(
      'subject_mismatch',
      `stage ${stageName} has no subjects: it is reached by delegation only`,
      'ask for a stage that this job may become, and for this one as a child of it',
    )
  }
  const reasons: string[] = []
  let reviewed = false
  for (const [index, subject] of subjects.entries()) {
    const reason = differenceOf(config, subject, token)
    if (reason !== null) reasons.push(`subject ${index}: ${reason}`)
    else if (subject.reviewed !== true) return { stage, reviewed: false }
    else reviewed = true
  }
  if (reviewed) return { stage, reviewed }
  throw new Refused(
    'subject_mismatch',
    `this job may not become stage ${stageName}: ${reasons.join('; ')}`,
    `run it where the claims match, or have a subject for it added to stages.${stageName}.subjects in hoop.yaml`,
  )
}

function differenceOf(
  config: Config,
  subject: NonNullable<Config['stages'][string]['subjects']>[number],
  token: PlatformToken,
): string | null {
  // By URL: the same issuer may have two names.
  if (config.issuers[subject.issuer]?.url !== token.url)
    return `it is for issuer ${subject.issuer}, not ${token.issuer}`
  const foreign = foreignCode(subject.claims, token) ?? strangersEvent(subject.claims, token)
  if (foreign !== null) return foreign
  for (const [name, pattern] of Object.entries(subject.claims)) {
    const actual = Object.hasOwn(token.claims, name) ? claimText(token.claims[name]) : null
    if (actual === null) return `claim ${name} must be ${JSON.stringify(pattern)}, and the token has none`
    if (!matchPattern(pattern, actual)) {
      return `claim ${name} must be ${JSON.stringify(pattern)}, and is ${JSON.stringify(actual.slice(0, 256))}`
    }
  }
  return null
}

/**
 * Where a GitLab project runs the pipeline of a merge request from a fork, `project_id` is the fork, whose code runs, and
 * `job_project_id` the project that runs it (GitLab 18.4; `project_id` since 18.2.2). Neither alone may speak for such a
 * job: a subject has to name both.
 */
function foreignCode(
  wanted: Readonly<Record<string, string>>,
  { platform, claims }: PlatformToken,
): string | null {
  if (platform !== 'gitlab') return null
  const [code, place] = [claimText(claims['project_id']), claimText(claims['job_project_id'])]
  if (place === null || place === code) return null
  if (Object.hasOwn(wanted, 'project_id') && Object.hasOwn(wanted, 'job_project_id')) return null
  return `project ${place} runs the code of project ${code} (a merge request from a fork), and the subject does not name both project_id and job_project_id`
}

// Whoever may open a pull request, an issue or a fork causes these; the job then runs as the default branch, with its `ref`.
const strangersEvents = new Set(
  `pull_request_target workflow_run issue_comment issues discussion discussion_comment
  pull_request_review pull_request_review_comment fork watch gollum`.split(/\s+/),
)

/**
 * A GitHub job that a stranger's event started tells the default branch as its `ref`, and often checks out the stranger's
 * code. A subject means such a job only when it names `event_name`.
 */
function strangersEvent(
  wanted: Readonly<Record<string, string>>,
  { platform, claims }: PlatformToken,
): string | null {
  if (platform !== 'github' || Object.hasOwn(wanted, 'event_name')) return null
  const event = claimText(claims['event_name'])
  if (event === null || !strangersEvents.has(event)) return null
  return `the event ${event} can be caused by people outside the repository, and the subject does not name event_name`
}

/** A claim as text: booleans and numbers as JSON writes them; lists and objects have none. */
export function claimText(value: unknown): string | null {
  if (typeof value === 'string') return value
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : null
}

/** True when the whole text matches: `*` stands for any characters but `/`, `**` for any. Time is bounded by pattern times text. */
export function matchPattern(pattern: string, text: string): boolean {
  // The places in `text` that the pattern so far can have reached.
  let reached = new Set([0])
  for (const part of pattern.split(/(\*+)/)) {
    const next = new Set<number>()
    if (part.startsWith('*')) {
      let end = -1
      for (const from of reached) {
        // Already covered by a run that started further left; runs come in ascending order.
        if (from < end) continue
        for (let at = from; at <= text.length; at++) {
          next.add(at)
          end = at + 1
          if (part === '*' && text[at] === '/') break
        }
      }
    } else {
      for (const from of reached) if (text.startsWith(part, from)) next.add(from + part.length)
    }
    if (next.size === 0) return false
    reached = next
  }
  return reached.has(text.length)
}
