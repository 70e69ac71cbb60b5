import { type IssueOptions, makeKey, type SigningKey, serveJson, sign } from './issuer.ts'

// An OIDC issuer that behaves as Jenkins's oidc-provider plugin does: a key for each credential, whose id is the `kid`;
// few claims, no `jti` and no `nbf`; a fresh token whenever a build binds the credential.

export interface JenkinsOidc {
  /** The issuer's URL: `iss`. */
  readonly url: string
  /** The token that a build gets when it binds this credential; `undefined` takes a claim out. */
  issue(
    credential: string,
    build: { readonly job: string; readonly number: number },
    claims?: Readonly<Record<string, unknown>>,
    options?: IssueOptions,
  ): Promise<string>
  close(): Promise<void>
}

/** Starts the issuer on 127.0.0.1, with these credentials. */
export async function startJenkinsOidc(credentials: readonly string[]): Promise<JenkinsOidc> {
  const keys = new Map<string, SigningKey>(credentials.map((id) => [id, makeKey(id)]))
  const server = await serveJson((url) => ({
    '/oidc/.well-known/openid-configuration': {
      issuer: `${url}/oidc`,
      jwks_uri: `${url}/oidc/jwks`,
      response_types_supported: ['code'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['RS256'],
    },
    '/oidc/jwks': { keys: [...keys.values()].map(({ jwk }) => jwk) },
  }))
  const iss = `${server.url}/oidc`
  return {
    url: iss,
    close: server.close,
    issue(credential, build, claims = {}, options = {}) {
      const key = keys.get(credential)
      if (key === undefined) throw new Error(`Jenkins has no credential ${credential}`)
      if (options.aud === undefined) throw new Error('a credential has an audience')
      const now = Math.floor(Date.now() / 1000) + (options.issuedIn ?? 0)
      return sign(
        key,
        {
          iss,
          aud: options.aud,
          iat: now,
          exp: now + (options.expiresIn ?? 3600),
          sub: `${server.url}/job/${build.job}/`,
          build_number: build.number,
          ...claims,
        },
        options,
      )
    },
  }
}
