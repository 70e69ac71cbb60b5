import { generateKeyPairSync } from 'node:crypto'
import { makeAuthority as makePem, signCertificate } from '../../gateway/identity/certificates.ts'

export interface Authority {
  readonly pem: string
  issue(name: string, use: 'server' | 'client'): Promise<{ cert: string; key: string }>
}

/** A CA for tests, made as the gateway makes its own. */
export async function makeAuthority(use: 'server' | 'client'): Promise<Authority> {
  const { privateKey: key } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const pem = await makePem({ key, name: `${use} CA`, use, now: Date.now() })
  return {
    pem,
    issue: async (subject, leafUse) => {
      const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
      const cert = await signCertificate({
        authority: { pem, key },
        use: leafUse,
        subject,
        names:
          leafUse === 'server'
            ? ['localhost', '127.0.0.1']
            : [`spiffe://hoop.internal/stage/test/${subject}`],
        publicKey: pair.publicKey,
        notBefore: Date.now(),
        notAfter: Date.now() + 3_600_000,
      })
      return { cert, key: String(pair.privateKey.export({ type: 'pkcs8', format: 'pem' })) }
    },
  }
}
