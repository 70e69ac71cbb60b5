import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { Refused } from '../../gateway/core/errors.ts'
import { createProvider } from '../../gateway/login/provider.ts'

test('however many begin to log in while the issuer does not answer, it is asked once', async () => {
  let asked = 0
  const issuer = createServer((_, response) => {
    asked++
    setTimeout(() => response.writeHead(503).end(), 200)
  })
  await new Promise<void>((resolve) => issuer.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void issuer.close())
  const { port } = issuer.address() as AddressInfo
  const provider = createProvider(
    { issuer: `http://127.0.0.1:${port}`, client_id: 'hoop', allow_private: true },
    { redirectUri: 'https://hoop.acme.example/login/callback', readSecret: String },
  )
  const challenge = { state: 's', nonce: 'n', verifier: 'v'.repeat(43) }
  const begun = await Promise.allSettled(Array.from({ length: 50 }, () => provider.begin(challenge)))
  for (const one of begun) expect(one).toMatchObject({ status: 'rejected', reason: expect.any(Refused) })
  expect(asked).toBe(1)
  // And whoever comes after that asks again.
  await expect(provider.begin(challenge)).rejects.toThrow(Refused)
  expect(asked).toBe(2)
})
