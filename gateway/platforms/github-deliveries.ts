import { z } from 'zod'
import { type Github, lying } from './github.ts'

/** At most so many are looked through at a time: 100 a page, the newest first. */
const PAGES = 10

const deliveryShape = z.object({
  id: z.int(),
  guid: z.string().min(1),
  delivered_at: z.string(),
  // Documented as a number; what never reached anybody has no status of its own.
  status_code: z.int().nullish(),
  event: z.string(),
})
const payloadShape = z.object({ guid: z.string(), request: z.object({ payload: z.unknown() }) })

const nextPage = /[?&]cursor=([\w.-]+)[^>]*>; *rel="next"/

/** An attempt to deliver a webhook of the App (https://docs.github.com/en/rest/apps/webhooks). */
export type FailedDelivery = z.output<typeof deliveryShape>

/** Webhooks of an event since then (milliseconds since the epoch) of which no attempt has arrived, the oldest first. */
export async function failedDeliveries(
  github: Github,
  { event, since, signal }: { readonly event: string; readonly since: number; readonly signal: AbortSignal },
): Promise<readonly FailedDelivery[]> {
  const failed = new Map<string, FailedDelivery>()
  const arrived = new Set<string>()
  let cursor = ''
  for (let page = 0; page < PAGES; page++) {
    const { found, link } = await github.look(
      z.array(deliveryShape),
      `/hook/deliveries?per_page=100${cursor}`,
      signal,
    )
    for (const delivery of found) {
      if (delivery.event !== event) continue
      const { status_code: code } = delivery
      if (typeof code === 'number' && code >= 200 && code < 300) arrived.add(delivery.guid)
      else failed.set(delivery.guid, delivery)
    }
    const [, next] = nextPage.exec(link) ?? []
    if (next === undefined || found.some(({ delivered_at: at }) => Date.parse(at) < since)) break
    cursor = `&cursor=${next}`
  }
  return [...failed.values()]
    .filter(({ guid, delivered_at: at }) => !arrived.has(guid) && Date.parse(at) >= since)
    .toReversed()
}

/** What a webhook that did not arrive has to say. */
export async function payloadOf(
  github: Github,
  { id, guid }: FailedDelivery,
  signal: AbortSignal,
): Promise<unknown> {
  const { found } = await github.look(payloadShape, `/hook/deliveries/${id}`, signal)
  if (found.guid !== guid) throw lying('it is about another webhook')
  return found.request.payload
}
