import { isIPv6 } from 'node:net'

/** How many connections may be open; all are counts. */
export interface Limits {
  /** Connections in all. */
  readonly connections: number
  /** Connections that have not yet proved who they are, in all. */
  readonly greeting: number
  /** The same, from one address (IPv6: one /64). */
  readonly greetingPerAddress: number
}

/** Limits that one machine carries with room to spare, and that one hostile address cannot use up. */
export const defaultLimits: Limits = { connections: 10_000, greeting: 4096, greetingPerAddress: 256 }

/** A connection's place: in greeting until it is settled, gone once left. Both may be called repeatedly. */
export interface Place {
  settle(): void
  leave(): void
}

/** Counts connections, so that clients who never say who they are cannot crowd out those who do. */
export class Admission {
  readonly #limits: Limits
  readonly #perAddress = new Map<string, number>()
  #connections = 0
  #greeting = 0

  constructor(limits: Limits) {
    this.#limits = limits
  }

  get connections(): number {
    return this.#connections
  }

  get greeting(): number {
    return this.#greeting
  }

  /** A place for a new connection, or null when there is none. */
  enter(address: string): Place | null {
    const network = networkOf(address)
    const neighbours = this.#perAddress.get(network) ?? 0
    const { connections, greeting, greetingPerAddress } = this.#limits
    if (this.#connections >= connections || this.#greeting >= greeting || neighbours >= greetingPerAddress)
      return null
    this.#connections++
    this.#greeting++
    this.#perAddress.set(network, neighbours + 1)
    let state: 'greeting' | 'settled' | 'left' = 'greeting'
    const settle = (): void => {
      if (state !== 'greeting') return
      state = 'settled'
      this.#greeting--
      const left = (this.#perAddress.get(network) ?? 1) - 1
      if (left === 0) this.#perAddress.delete(network)
      else this.#perAddress.set(network, left)
    }
    const leave = (): void => {
      if (state === 'left') return
      settle()
      state = 'left'
      this.#connections--
    }
    return { settle, leave }
  }
}

/** The part of an address that one party holds whole: IPv4 as it is, of IPv6 the first 64 bits. */
export function networkOf(address: string): string {
  if (!isIPv6(address)) return address
  const mapped = /^::ffff:([0-9.]+)$/i.exec(address)?.[1]
  if (mapped !== undefined) return mapped
  const [head = '', tail] = address.split('%')[0]?.split('::') ?? []
  const first = head === '' ? [] : head.split(':')
  const last = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - first.length - last.length)
  const groups = [...first, ...Array.from({ length: zeros }, () => '0'), ...last]
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`
}
