import { existsSync } from 'node:fs'
import { type Browser, chromium } from 'playwright-core'

const executablePath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(
  (path) => existsSync(path),
)

/** Whether there is a browser to drive; says what is skipped when there is none. */
export const hasChromium = executablePath !== undefined
if (!hasChromium)
  console.warn('pages are not driven in a browser: there is no Chromium (apt-get install chromium)')

/** Starts it without a window, and so that it asks nobody but the pages that it is sent to. */
export function startChromium(): Promise<Browser> {
  return chromium.launch({
    ...(executablePath !== undefined && { executablePath }),
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
}
