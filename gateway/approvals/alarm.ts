/** A timer that holds for longer than setTimeout can (24 days). */
export function alarm(at: number, now: () => number, ring: () => void): { cancel(): void } {
  let timer: NodeJS.Timeout
  const set = (): void => {
    const left = at - now()
    timer = setTimeout(() => (at - now() <= 0 ? ring() : set()), Math.min(Math.max(left, 0), 2 ** 31 - 1))
    timer.unref()
  }
  set()
  return { cancel: () => clearTimeout(timer) }
}
