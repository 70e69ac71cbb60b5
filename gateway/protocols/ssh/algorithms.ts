import type { Algorithms } from 'ssh2'

/**
 * What is offered to clients and to hosts: no SHA-1, no CBC, no small groups. Neither chacha20-poly1305 nor
 * encrypt-then-MAC is among them, so that Terrapin (CVE-2023-48795) finds nothing to work on even where the other side
 * has no strict key exchange; every OpenSSH since 6.2 has GCM.
 */
export const algorithms = {
  kex: [
    'curve25519-sha256',
    'curve25519-sha256@libssh.org',
    'ecdh-sha2-nistp256',
    'ecdh-sha2-nistp384',
    'ecdh-sha2-nistp521',
    'diffie-hellman-group16-sha512',
    'diffie-hellman-group14-sha256',
  ],
  cipher: ['aes128-gcm@openssh.com', 'aes256-gcm@openssh.com', 'aes256-ctr', 'aes128-ctr'],
  hmac: ['hmac-sha2-256', 'hmac-sha2-512'],
  compress: ['none'],
} as const satisfies { readonly [Name in keyof Algorithms]: readonly string[] }

/** The same as lists that the library may keep. */
export function offered(): Algorithms {
  return {
    kex: [...algorithms.kex],
    cipher: [...algorithms.cipher],
    hmac: [...algorithms.hmac],
    compress: [...algorithms.compress],
  }
}
