/** What the relays of one gateway, each in a process of its own, tell each other. */
export type News =
  /** A client showed a cancel key that is not known here. */
  | { readonly kind: 'cancel'; readonly pid: number; readonly secret: Uint8Array }
  /** A session has changed a database: what is known of it is out of date. */
  | { readonly kind: 'changed'; readonly host: string; readonly port: number; readonly database: string }

/** Resolves once all others have it, or are no more. Never rejects. */
export type Spread = (news: News) => Promise<void>
