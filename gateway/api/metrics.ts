import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { ApprovalEvent } from '../approvals/live-approvals.ts'
import type { LiveEntry, SessionLog } from '../core/live-sessions.ts'

/** What the gateway counts. No label comes from a client, a stage or a connection: only from short lists in the code. */
export interface Metrics {
  readonly registry: Registry
  /** A session log that counts what it is told. */
  countSessions(log: SessionLog): SessionLog
  approval(event: ApprovalEvent): void
  exchange(outcome: 'issued' | 'refused' | 'unavailable'): void
  /** What a look for what is too old came to: recordings removed, and days that could not go; null when it failed. */
  retention(outcome: { readonly sessions: number; readonly overdue: number } | null): void
}

export function createMetrics(): Metrics {
  const registry = new Registry()
  const registers = [registry]
  const running = new Gauge({ name: 'hoop_sessions_running', help: 'Sessions that run now', registers })
  const sessions = new Counter({
    name: 'hoop_sessions_total',
    help: 'Sessions that ended',
    labelNames: ['protocol'],
    registers,
  })
  const decisions = new Counter({
    name: 'hoop_decisions_total',
    help: 'Requests by what was decided, counted when their session ends',
    labelNames: ['effect'],
    registers,
  })
  const masked = new Counter({
    name: 'hoop_masked_values_total',
    help: 'Values masked in answers',
    registers,
  })
  const held = new Histogram({
    name: 'hoop_held_seconds',
    help: 'How long requests waited for people',
    labelNames: ['state'],
    buckets: [1, 10, 60, 300, 900, 1800, 3600],
    registers,
  })
  const pending = new Gauge({
    name: 'hoop_approvals_pending',
    help: 'Requests that wait for people',
    registers,
  })
  const gateFailures = new Counter({
    name: 'hoop_gate_failures_total',
    help: 'Failures to reach a place where people are asked',
    registers,
  })
  const glassBroken = new Counter({
    name: 'hoop_glass_broken_total',
    help: 'Requests that one person let pass alone',
    registers,
  })
  const alarmsUntold = new Counter({
    name: 'hoop_alarms_untold_total',
    help: 'Places that could not be told that the glass was broken',
    registers,
  })
  const exchanges = new Counter({
    name: 'hoop_exchanges_total',
    help: 'Token exchanges by outcome',
    labelNames: ['outcome'],
    registers,
  })
  const storeFailures = new Counter({
    name: 'hoop_approval_store_failures_total',
    help: 'Approvals whose state could not be kept',
    registers,
  })
  const recordingFailures = new Counter({
    name: 'hoop_recording_failures_total',
    help: 'Sessions that ended because they could not be recorded',
    registers,
  })
  const removed = new Counter({
    name: 'hoop_recordings_removed_total',
    help: 'Recordings removed because they were older than gateway.retention',
    registers,
  })
  const overdue = new Gauge({
    name: 'hoop_retention_days_overdue',
    help: 'Days older than gateway.retention whose recordings could not be removed',
    registers,
  })
  const retentionFailures = new Counter({
    name: 'hoop_retention_failures_total',
    help: 'Looks for what is older than gateway.retention that failed',
    registers,
  })
  const ended = ({ protocol, counts }: LiveEntry): void => {
    running.dec()
    sessions.inc({ protocol })
    decisions.inc({ effect: 'allow' }, counts.allowed)
    decisions.inc({ effect: 'approve' }, counts.held)
    decisions.inc({ effect: 'deny' }, counts.denied)
    masked.inc(counts.masked)
  }
  return {
    registry,
    countSessions: (log) => ({
      started: async (entry) => {
        await log.started(entry)
        running.inc()
      },
      ended: async (entry, why) => {
        ended(entry)
        // The end of a session begins with the code of what ended it.
        if (why.startsWith('recording_failed')) recordingFailures.inc()
        await log.ended(entry, why)
      },
    }),
    approval: (event) => {
      switch (event.kind) {
        case 'asked':
          return pending.inc()
        case 'concluded':
          pending.dec()
          return held.observe({ state: event.state }, event.waitedMs / 1000)
        case 'gate-failed':
          return gateFailures.inc()
        case 'alarm-untold':
          return alarmsUntold.inc()
        case 'store-failed':
          return storeFailures.inc()
        case 'glass-broken':
          return glassBroken.inc()
      }
    },
    exchange: (outcome) => exchanges.inc({ outcome }),
    retention: (outcome) => {
      if (outcome === null) return retentionFailures.inc()
      removed.inc(outcome.sessions)
      overdue.set(outcome.overdue)
    },
  }
}
