import type { Generated } from 'kysely'

/** Times are milliseconds since the epoch; JSON columns hold text. */
export interface Tables {
  identities: {
    id: string
    parent: string | null
    root: string
    stage: string
    /** JSON of `Origin`. */
    origin: string
    /** JSON: `[connection, operations | null][]`. */
    connections: string
    binding: 'required' | 'token'
    thumbprint: string
    /** JSON: the public key (RFC 7517), members in RFC 7638 order. */
    public_jwk: string
    /** The gateway-signed statement of this level: compact JWS. */
    statement: string
    created_at: number
    expires_at: number
    /** The latest time that renewal can reach. */
    renewable_until: number
    revoked_at: number | null
    revoked_why: string | null
    /** RFC 7638 thumbprint of the key by which its holder keeps it alive; null when it needs no holder. */
    lease: string | null
    /** 1 when it only looks on. */
    audit_only: number
  }
  /** One row a platform token used: what makes it good for one key. */
  platform_tokens: {
    /** SHA-256 of issuer and jti, or of what the token signs where it has no jti; hex. */
    digest: string
    thumbprint: string
    identity: string
    expires_at: number
  }
  /** One row a DPoP proof used, for as long as it could be used again. */
  spent_proofs: {
    /** SHA-256 of the key's thumbprint and the proof's jti; hex. */
    digest: string
    expires_at: number
  }
  /** One row a job: its one root identity. */
  jobs: {
    /** Issuer's URL and the platform's job key: `https://token.actions.githubusercontent.com 1296269/55/1/991`. */
    key: string
    identity: string
    created_at: number
  }
  approvals: {
    id: string
    state: 'pending' | 'approved' | 'denied' | 'expired' | 'withdrawn' | 'used'
    identity: string
    session: string
    connection: string
    stage: string
    /** JSON array of names of approver groups, all of which must approve. */
    by: string
    rule: string
    /** Version of the policy that asked. */
    policy: string
    /** JSON array of `{ action, resource, dry_run }`. */
    operations: string
    /** As it may be shown: masked. */
    statement: string
    /** JSON array of names of masks that concern it. */
    masks: string
    /** Keyed digest of text and parameters, hex. */
    digest: string
    requested_at: number
    expires_at: number
    decided_at: number | null
    /** JSON array of `{ person, group, gate, answer, reason, at, breakGlass? }`. */
    answers: string
    reach: string
    /** Milliseconds for which it stays open without whoever asked; 0: not at all. */
    linger: number
  }
  /** What has to be told of an approval, and where: one row an entry of `gates:`, written with what it tells of. */
  postings: {
    /** The approval's id for its question and outcome, `ID.glass.PERSON.TIME` for an alarm: the same whenever it is told again. */
    delivery: string
    approval: string
    /** The entry as canonical text: what tells two entries of one gate apart. */
    place: string
    gate: string
    /** JSON array of the groups that ask there. */
    groups: string
    /** JSON of `Glass`: who broke it; null for a question. */
    glass: string | null
    /** What the gate needs to find it again; null until it has asked. */
    handle: string | null
    url: string | null
    /** Why the last attempt failed; null when it did not. */
    failure: string | null
    /** When it was put up without an answer to say so: it may be there; null otherwise. */
    tried_at: number | null
    /** 1 when nothing is left to be told here: it was, or it was given up, as `failure` says. */
    done: number
  }
  /** What GitHub showed of approvals when an attempt of a run asked: later attempts may not use them again. */
  run_reviews: {
    /** Issuer's URL, repository id, run id, environment id. */
    run: string
    attempt: number
    /** JSON: by the approver's id, how many approvals. */
    seen: string
    seen_at: number
  }
  /** One row a person's login that is in force. */
  logins: {
    /** SHA-256 of its secret, hex. */
    digest: string
    kind: 'browser' | 'terminal'
    /** SHA-256 of the account at the issuer, hex. */
    account: string
    /** JSON: the issuer's claims, as far as hoop.yaml asks about them. */
    claims: string
    /** RFC 7638, of a terminal's key; null for a browser. */
    thumbprint: string | null
    created_at: number
    seen_at: number
    expires_at: number
  }
  /** One row a terminal that waits for its person to let it in (RFC 8628). */
  device_codes: {
    /** SHA-256 of the device code, hex. */
    digest: string
    /** SHA-256 of the user code, hex. */
    user_code: string
    thumbprint: string
    /** Where it was asked from: an address, as it is shown to the person. */
    address: string
    state: 'pending' | 'confirmed' | 'refused'
    /** JSON: the claims of who confirmed it. */
    claims: string | null
    /** Seconds that have to pass between two polls. */
    interval: number
    created_at: number
    polled_at: number
    expires_at: number
  }
  sessions: {
    id: string
    identity: string
    /** The root of the identity's tree. */
    root: string
    stage: string
    connection: string
    protocol: string
    started_at: number
    ended_at: number | null
    /** Why it ended: `client left`, `revoked`, …; null while it runs. */
    end: string | null
    allowed: number
    held: number
    denied: number
    masked: number
  }
  meta: { key: string; value: string }
  migrations: { version: Generated<number>; applied_at: number }
}
