import { type Browser, chromium } from 'playwright-core'
import { find } from '../servers/programs.ts'

const executablePath = find('chromium') ?? find('chromium-browser') ?? find('google-chrome')

/** Why there is no browser to drive, or null. */
export const missingForPages =
  executablePath === null ? 'not on the PATH: chromium, chromium-browser, google-chrome' : null

/** Starts it without a window, and so that it asks nobody but the pages that it is sent to. */
export function startChromium(): Promise<Browser> {
  return chromium.launch({
    ...(executablePath !== null && { executablePath }),
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
