import { type ApprovalView, operationWords } from '../../core/contract.ts'
import type { Glass } from '../approval.ts'

// What gates that tell people in words have in common.

/** The operations in a few words, at most 120 characters: `delete public.orders and 2 more`. */
export function operationsIn({ operations }: ApprovalView): string {
  const [first, ...more] = operations
  if (first === undefined) return 'a request'
  const words = shorten(operationWords(first), 100)
  return more.length === 0 ? words : `${words} and ${more.length} more`
}

/** Stages from the job down: `deploy › migrate`. */
export function stagesIn({ chain }: ApprovalView): string {
  return chain.map(({ stage }) => stage).join(' › ')
}

/** What became of it, in one sentence. */
export function outcomeIn(view: ApprovalView): string {
  const names = (answer: 'approve' | 'deny'): string =>
    [...new Set(view.answers.flatMap((given) => (given.answer === answer ? [given.person] : [])))].join(
      ' and ',
    )
  const glass = view.answers.find(({ break_glass: broken }) => broken)
  switch (view.state) {
    case 'pending':
      return 'It waits for people.'
    case 'approved':
    case 'used':
      return glass === undefined ? `Approved by ${names('approve')}.` : `${alarmIn(glass)}.`
    case 'denied':
      return `Denied by ${names('deny')}.`
    case 'expired':
      return 'Nobody answered in time: it was refused.'
    case 'withdrawn':
      return 'Whoever asked took it back, or left: it did not run.'
  }
}

/** Who broke the glass, and why. */
export function alarmIn({ person, reason }: Pick<Glass, 'person' | 'reason'>): string {
  return `${person} broke the glass: ${reason}`
}

/** Text with nothing in it that hides or turns other text, on lines of its own only where it had them. */
export function visible(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u115f\u1160\u3164\uffa0\u2028\u2029]/gu, (character) =>
    character === '\n' || character === '\t'
      ? character
      : `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  )
}

export function shorten(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most - 2)} …`
}
