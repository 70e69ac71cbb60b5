/** Where answers come from, and below what path clients see it. */
export interface Place {
  /** Of the target: scheme, host and port. */
  readonly origin: string
  /** The path of the connection's URL, without a slash at its end. */
  readonly base: string
  /** `/http/CONNECTION`. */
  readonly mount: string
  /** Of the request, below the base. */
  readonly path: string
}

/** The headers that hold URIs (RFC 9110 §8.7, §10.2.2; RFC 8288). */
const located = new Set(['location', 'content-location', 'link'])

/** The value of such a header as it leads there through the gateway; any other as it is. */
export function relocate(name: string, value: string, place: Place): string {
  if (!located.has(name)) return value
  if (name !== 'link') return relocateUri(value, place)
  return value.replaceAll(/<([^<>]*)>/g, (_, uri: string) => `<${relocateUri(uri, place)}>`)
}

/**
 * What leads below the connection's URL is turned to the gateway; what leads elsewhere is written out whole, because a path alone
 * would be taken for one of the gateway's own.
 */
function relocateUri(uri: string, { origin, base, mount, path }: Place): string {
  if (!URL.canParse(uri, `${origin}${base}${path}`)) return 'about:blank'
  const { origin: at, pathname, search, hash, href } = new URL(uri, `${origin}${base}${path}`)
  if (at !== origin || (pathname !== base && !pathname.startsWith(`${base}/`))) return href
  return `${mount}${pathname.slice(base.length)}${search}${hash}`
}
