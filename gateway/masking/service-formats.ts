import {
  type Check,
  type Format,
  afterSeparator,
  named,
  only,
  prefixed,
  shaped,
  shortNames,
  within,
  uuid,
} from './bodies.ts'
import { set } from './scan.ts'

const twilioKeys = '0123456789abcdef'.split('').map((digit) => `SK${digit}`)

/** Mailgun: `key-`, 32. */
const keyOfMailgun: Check = (kind) => (scan, _start, end) => {
  const from = afterSeparator(scan, end)
  if (from === end || !scan.follows(from, 'key-')) return
  const stop = scan.run(from + 4, set.lowerDigits, 33)
  if (stop - from === 36) scan.add(from, stop, kind)
}

/** Tokens of chat, payment, mail, models and other services. */
export const serviceFormats: readonly Format[] = [
  {
    kind: 'slack-token',
    words: ['xwfp-', ...'abcdeoprs'.split('').map((kind) => `xox${kind}-`)],
    verify: prefixed({ of: set.url, min: 12 }),
  },
  { kind: 'slack-token', words: ['xapp-', 'xoxe.xox'], verify: prefixed({ of: set.dotted, min: 20 }) },
  {
    kind: 'slack-webhook',
    words: ['hooks.slack.com/services/', 'hooks.slack.com/workflows/', 'hooks.slack.com/triggers/'],
    verify: prefixed({ of: set.base64, min: 20, max: 255 }),
  },
  {
    kind: 'stripe-key',
    words: ['sk_live_', 'rk_live_', 'sk_test_', 'rk_test_'],
    verify: prefixed({ of: set.alnum, min: 16, max: 255 }),
  },
  { kind: 'stripe-key', words: ['whsec_'], verify: prefixed({ of: set.base64, min: 24, max: 255 }) },
  { kind: 'anthropic-key', words: ['sk-ant-'], verify: prefixed({ of: set.url, min: 20 }) },
  {
    kind: 'openai-key',
    words: ['sk-proj-', 'sk-svcacct-', 'sk-admin-'],
    verify: prefixed({ of: set.url, min: 20 }),
  },
  // The first form: sk-, 20, T3BlbkFJ ("OpenAI" in base64), 20.
  { kind: 'openai-key', words: ['sk-'], verify: shaped([set.alnum, 20], 'T3BlbkFJ', [set.alnum, 20]) },
  { kind: 'openrouter-key', words: ['sk-or-v1-'], verify: prefixed({ of: set.hex, min: 64, max: 64 }) },
  {
    kind: 'hugging-face-token',
    words: ['hf_'],
    verify: only(set.alnum, 34),
  },
  { kind: 'sendgrid-key', words: ['SG.'], verify: shaped([set.url, 22], '.', [set.url, 43]) },
  {
    kind: 'twilio-key',
    words: twilioKeys,
    verify: only(set.hex, 31),
  },
  {
    kind: 'twilio-token',
    words: shortNames('auth token'),
    fold: true,
    verify: named({ of: set.hex, min: 32 }),
  },
  {
    kind: 'discord-token',
    words: [...shortNames('discord token'), ...shortNames('bot token')],
    fold: true,
    verify: named({ of: set.dotted, min: 59, max: 80 }),
  },
  {
    kind: 'shopify-token',
    words: ['shpat_', 'shpss_', 'shpca_', 'shppa_'],
    verify: prefixed({ of: set.hex, min: 32, max: 64 }),
  },
  {
    kind: 'telegram-token',
    words: [':AA'],
    verify: within({ of: set.digit, least: 8 }, { of: set.url, min: 33, max: 33 }),
  },
  {
    kind: 'discord-webhook',
    words: ['discord.com/api/webhooks/', 'discordapp.com/api/webhooks/'],
    verify: prefixed({ of: set.base64 | set.url, min: 60, max: 255 }),
  },
  {
    kind: 'teams-webhook',
    words: ['/IncomingWebhook/'],
    verify: prefixed({ of: set.base64 | set.url, min: 60, max: 255 }),
  },
  {
    kind: 'figma-token',
    words: ['figd_', 'figoh_', 'figor_'],
    verify: prefixed({ of: set.url, min: 40, alone: true }),
  },
  { kind: 'notion-token', words: ['ntn_'], verify: shaped([set.digit, 11], [set.alnum, 35]) },
  {
    kind: 'notion-token',
    words: ['secret_'],
    verify: prefixed({ of: set.alnum, min: 43, exact: true, alone: true, mixed: true }),
  },
  { kind: 'square-token', words: ['sq0atp-'], verify: prefixed({ of: set.url, min: 22, max: 22 }) },
  { kind: 'square-token', words: ['sq0csp-'], verify: prefixed({ of: set.url, min: 43, max: 43 }) },
  {
    kind: 'braintree-token',
    words: ['access_token$production$', 'access_token$sandbox$'],
    verify: shaped([set.alnum, 16], '$', [set.hex, 32]),
  },
  { kind: 'plaid-token', words: ['access-production-', 'access-sandbox-'], verify: shaped(...uuid) },
  { kind: 'mailgun-key', words: shortNames('mailgun api key'), fold: true, verify: keyOfMailgun },
  {
    kind: 'brevo-key',
    words: ['xkeysib-', 'xsmtpsib-'],
    verify: prefixed({ of: set.url, min: 70, max: 96 }),
  },
  { kind: 'resend-key', words: ['re_'], verify: shaped([set.alnum, 8], '_', [set.alnum, 24]) },
  { kind: 'hubspot-token', words: ['pat-na1-', 'pat-na2-', 'pat-eu1-'], verify: shaped(...uuid) },
  { kind: 'mapbox-token', words: ['sk.eyJ'], verify: prefixed({ of: set.dotted, min: 70, alone: true }) },
  { kind: 'okta-token', words: ['SSWS 00'], verify: prefixed({ of: set.url, min: 40, exact: true }) },
  { kind: '1password-token', words: ['ops_eyJ'], verify: prefixed({ of: set.base64, min: 250, max: 4096 }) },
  {
    kind: '1password-key',
    words: ['A3-'],
    verify: shaped(
      [set.upper, 6],
      '-',
      [set.upper, 6],
      '-',
      [set.upper, 5],
      '-',
      [set.upper, 5],
      '-',
      [set.upper, 5],
      '-',
      [set.upper, 5],
    ),
  },
  {
    kind: 'groq-key',
    words: ['gsk_'],
    verify: only(set.alnum, 52),
  },
  {
    kind: 'xai-key',
    words: ['xai-'],
    verify: only(set.alnum, 80),
  },
  {
    kind: 'perplexity-key',
    words: ['pplx-'],
    verify: only(set.alnum, 48),
  },
  {
    kind: 'replicate-token',
    words: ['r8_'],
    verify: only(set.alnum, 37),
  },
  { kind: 'nvidia-key', words: ['nvapi-'], verify: prefixed({ of: set.url, min: 60, max: 80, alone: true }) },
  {
    kind: 'elevenlabs-key',
    words: ['sk_'],
    verify: only(set.hex, 48),
  },
  {
    kind: 'langsmith-key',
    words: ['lsv2_pt_', 'lsv2_sk_'],
    verify: shaped([set.hex, 32], '_', [set.hex, 10]),
  },
  {
    kind: 'pinecone-key',
    words: ['pcsk_'],
    verify: prefixed({ of: set.url, min: 50, max: 96, alone: true }),
  },
]
