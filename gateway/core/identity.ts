/** What a client offers as proof of who it is. */
export type Proof =
  /** A client certificate (DER) whose key the TLS handshake proved and whose chain it verified. */
  | { readonly kind: 'certificate'; readonly der: Uint8Array }
  /** A key that the handshake proved: RFC 7638 SHA-256 thumbprint, base64url. */
  | { readonly kind: 'key'; readonly thumbprint: string }
  /** An access token alone: good only where the stage says `binding: token`. */
  | { readonly kind: 'token'; readonly token: string }

/** Where a root identity came from: what people need in order to recognise the job. */
export interface Origin {
  /** The issuer's name in hoop.yaml. */
  readonly issuer: string
  readonly platform: 'github' | 'gitlab' | 'jenkins' | 'oidc'
  /** The claims of the platform's token that identify the job; no token, no secret. */
  readonly claims: Readonly<Record<string, string>>
  /** A page that shows the job, where the platform has one. */
  readonly url: string | null
}

/** What the gateway issued to a job or to a process of it; a node in a delegation tree. */
export interface Identity {
  /** `idn_` and 26 base32 characters (128 random bits). */
  readonly id: string
  readonly stage: string
  readonly parent: Identity | null
  readonly origin: Origin
  /** Connections it may use, each narrowed to some operations, or null for all that the stage grants. */
  readonly connections: ReadonlyMap<string, readonly string[] | null>
  readonly binding: 'required' | 'token'
  /** True when it only looks on: what it would refuse is recorded, and decided by the levels above and below. */
  readonly auditOnly: boolean
  /** RFC 7638 SHA-256 thumbprint of its key, base64url. */
  readonly thumbprint: string
  /** Milliseconds since the epoch; moves when the identity is renewed. */
  readonly expiresAt: number
  /** Aborted, with a `Refused` as reason, when the identity or one above it is revoked. */
  readonly ended: AbortSignal
}

/** The identity and all above it, root first. */
export function chainOf(identity: Identity): readonly Identity[] {
  const chain: Identity[] = []
  for (let node: Identity | null = identity; node !== null; node = node.parent) chain.unshift(node)
  return chain
}

/** The identity itself, or where it only looks on, the nearest above that does more: what it can do is that one's. */
export function enforcing(identity: Identity): Identity {
  return identity.auditOnly && identity.parent !== null ? enforcing(identity.parent) : identity
}
