import type { Fault } from './read-chain.ts'

const mostFaults = 1000

/** What a verification has found so far. */
export class Findings {
  readonly faults: Fault[] = []
  /** Sessions that are not over. */
  readonly running: string[] = []
  recordings = 0
  records = 0
  blocks = 0
  signatures = 0

  fault(fault: Fault): void {
    if (this.faults.length < mostFaults) this.faults.push(fault)
  }

  /** Where no record can be named: something is not there, or is not what it should be as a whole. */
  missing(file: string, why: string): void {
    this.fault({ file, line: 1, offset: 0, seq: null, why })
  }
}
