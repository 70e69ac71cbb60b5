import type { Refused } from '../core/errors.ts'
import { type Piece, html } from './html.ts'
import { type Reader, moment, page } from './layout.ts'

/** What somebody sees who did not say who they are: how to log in, and the terminal's commands. */
export function signInPage(how: {
  /** Where to log in; null when hoop.yaml has no `console.login`. */
  readonly login: string | null
  readonly commands: readonly string[]
}): string {
  return page({
    title: 'Log in',
    reader: null,
    narrow: true,
    body: html`<section class="card"><h1>Log in to see it</h1>
${
  how.login === null
    ? html`<p>This gateway has no login for browsers. Look at it from a terminal:</p>`
    : html`<p><a class="button approve" href="${how.login}">Log in</a></p><p class="hint">Or from a terminal, after <code>hoop-access login</code>:</p>`
}
${how.commands.map((command) => html`<pre>${command}</pre>`)}</section>`,
  })
}

/** What went wrong, why, and what to do next. */
export function refusalPage(refused: Refused, reader: Reader | null): string {
  return message(
    reader,
    'That did not work',
    html`<p>${refused.why}.</p><p class="hint">${refused.next}.</p>`,
  )
}

/** One short message. */
export function message(reader: Reader | null, title: string, body: Piece): string {
  return page({
    title,
    reader,
    narrow: true,
    body: html`<section class="card"><h1>${title}</h1>${body}</section>`,
  })
}

/** Asks for the code that a terminal shows. */
export function devicePage(reader: Reader, wrong: boolean): string {
  return message(
    reader,
    'Log a terminal in',
    html`${wrong && html`<p class="notice warn" role="alert">No terminal waits with that code. Look at it again, or run <code>hoop-access login</code> anew.</p>`}
<form method="post" action="/device"><input type="hidden" name="token" value="${reader.formToken}">
<label for="code">The code that <code>hoop-access login</code> shows you</label>
<input id="code" name="code" class="code" required autocomplete="off" autocapitalize="characters" spellcheck="false" maxlength="16" autofocus>
<div class="buttons"><button class="approve">Go on</button></div></form>
<p class="hint">Only type a code that you see in a terminal of your own. Nobody else has a reason to send you one.</p>`,
  )
}

/** Shows where the terminal is, and asks for the person's word. */
export function confirmPage(
  reader: Reader,
  waiting: { readonly code: string; readonly address: string; readonly askedAt: string },
): string {
  return message(
    reader,
    'Is this your terminal?',
    html`<dl class="facts"><dt>Code</dt><dd><code class="code">${waiting.code}</code></dd>
<dt>Asked from</dt><dd><code>${waiting.address}</code></dd><dt>Asked</dt><dd>${moment(waiting.askedAt)}</dd></dl>
<p>It will be able to see and answer approvals as <b>${reader.shown}</b> for eight hours.</p>
<form method="post" action="/device"><input type="hidden" name="token" value="${reader.formToken}"><input type="hidden" name="code" value="${waiting.code}">
<div class="buttons"><button class="approve" name="word" value="confirmed">Yes, log it in</button>
<button class="deny" name="word" value="refused">No, refuse it</button></div></form>
<p class="hint">If somebody sent you the code, refuse: they would act in your name.</p>`,
  )
}
