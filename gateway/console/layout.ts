import { icon, script, style } from './assets.ts'
import { type Html, type Piece, html } from './html.ts'

/** Who looks at a page, when they logged in with a browser. */
export interface Reader {
  /** The person's name, or what else is known of them. */
  readonly shown: string
  readonly roles: readonly string[]
  /** What its forms carry. */
  readonly formToken: string
}

/** A whole page: nothing inline, nothing from elsewhere. */
export function page(options: {
  readonly title: string
  readonly reader: Reader | null
  readonly body: Piece
  /** For pages of one short message. */
  readonly narrow?: boolean
}): string {
  const { title, reader, body, narrow = false } = options
  return String(html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title} · Hoop Access</title>
<link rel="icon" href="${icon.path}">
<link rel="stylesheet" href="${style.path}">
<script type="module" src="${script.path}"></script>
</head>
<body>
<a class="skip" href="#main">To the content</a>
<header class="bar">
<a class="brand" href="/"><img src="${icon.path}" alt="" width="28" height="28">Hoop Access</a>
${reader === null ? null : account(reader)}
</header>
<main id="main" class="${narrow ? 'narrow' : 'wide'}">
${body}
</main>
</body>
</html>
`)
}

function account({ shown, roles, formToken }: Reader): Html {
  return html`<nav class="account" aria-label="Account">
<a href="/approvals">Approvals</a>
<span class="who">${shown}${roles.length > 0 && html` <small>${roles.join(', ')}</small>`}</span>
<form method="post" action="/logout"><input type="hidden" name="token" value="${formToken}"><button class="quiet">Log out</button></form>
</nav>`
}

/** A moment, which the script shows in the reader's own time zone. */
export function moment(iso: string): Html {
  return html`<time datetime="${iso}" data-moment>${iso.replace('T', ' ').replace(/\.\d+Z$/, ' UTC')}</time>`
}
