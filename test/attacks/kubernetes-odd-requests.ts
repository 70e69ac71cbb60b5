import type { Random } from '../policy/random.ts'

/** A request as a compromised job might write it: method and target, and headers that some servers listen to. */
export interface OddRequest {
  readonly method: string
  /** Path and query, as bytes (latin1). */
  readonly target: string
  readonly headers: readonly string[]
}

const listed = (text: string): string[] => text.trim().split(/\s+/)

const prefixes = listed(String.raw`
  /api/v1 /api/v1 /api/v1 /api/v1 /api/v1 /api/v1 /api/v1 /api/v1 /apis/apps/v1 /apis/apps/v1
  /apis/mirror.example/v1 /apis/rbac.authorization.k8s.io/v1 /api /apis /apis/apps /API/v1 /Api/v1
  /api/v1/watch /apis/apps/v1/watch /api/v1/proxy /api/v1/watch/watch /api/watch /apis/watch/v1
  /openapi/v3 /version /healthz /logs /metrics /.well-known/openid-configuration /apiv1 /api/ /v1`).concat('')
const words = listed(String.raw`
  pods pods secrets secrets configmaps services nodes deployments namespaces namespaces shop default
  kube-system web https:web:443 web:80 a.b watch proxy status finalize scale log token eviction
  Secrets exec * - @scope%2fname`)
const methods = listed(String.raw`
  GET GET GET GET GET GET GET GET GET GET GET GET GET GET HEAD HEAD POST PUT PATCH DELETE DELETE
  OPTIONS TRACE CONNECT get WATCH QUERY PROPFIND`)
const odd = listed(String.raw`
  / // /./ /../ /%2e%2e/ /%2e/ %2f %2F %5c \ ; ;x=1 %3b %00 %0a %20 + %2b %25 %252e %252f % %zz %ff
  %c0%af %c0%ae%c0%ae %e0%80%af %ef%bc%8f %ef%bc%93 %e2%84%aa .. . ... ~ * @ : , = & # ? " < | %7f
  %u002f`).concat('\xff', '\t', ' ')
const names = listed(String.raw`
  watch watch watch fieldSelector fieldSelector fieldSelector labelSelector limit resourceVersion
  timeoutSeconds dryRun command container tty Watch FieldSelector w%61tch %77atch watch%00 watch+
  +watch watch[] ?watch field%53elector sendInitialEvents _method`).concat('')
const values = listed(String.raw`
  true 1 0 false FALSE False t yes %30 00 %66alse false+ %00 2 -1 %2b5 1e3 0x1 99999999999999999999
  1.5 All DELETE a=b a%20in%20(b)`).concat('', 'a in (b')
const selectors = listed(String.raw`
  metadata.name=web metadata.name%3Dweb metadata.name==web metadata.name%3D%3Dweb metadata.name!=web
  metadata.name= metadata.name metadata.name=web,metadata.name=other spec.nodeName=x,metadata.name=web
  metadata.name=web,bogus metadata.name%3Dweb%5C%2Cother metadata.name=we!b metadata.name=a%2Fb
  metadata.name=.. metadata.name=%25 metadata.name=web+ +metadata.name=web metadata.name+=+web
  metadata.name=web, ,metadata.name=web metadata.name=web,, METADATA.NAME=web metadata.name=web%00
  metadata.name=web%20 metadata%2Ename%3Dweb metadata.name=web%2C name=web metadata.name!web
  metadata.name===web !metadata.name=web metadata.name=web=x metadata.name=w%C3%A9b x
  metadata.name=web,a=b=c metadata.name=web,a metadata.name=web,= metadata.name=web,a%5Cb=c`)
const overrides = [
  'X-HTTP-Method-Override: DELETE',
  'X-HTTP-Method: DELETE',
  'X-Original-URL: /api/v1/secrets',
  'X-Rewrite-URL: /api/v1/secrets',
  'X-Forwarded-Prefix: /api/v1/watch',
  'X-Forwarded-Uri: /api/v1/secrets',
  'Connection: X-Hoop',
]

/** Where a query decides what is asked for. */
const collections = listed(String.raw`
  /api/v1/pods /api/v1/namespaces/shop/secrets /apis/apps/v1/namespaces/shop/deployments/
  /api/v1/namespaces /api/v1/watch/namespaces/shop/pods /apis/mirror.example/v1/secrets`)

/** One request at random, the most of them almost plain. */
export function oddRequest(random: Random): OddRequest {
  if (random.chance(3))
    return {
      method: random.pick(['GET', 'GET', 'HEAD', 'DELETE']),
      target: random.pick(collections) + queryOf(random, 4),
      headers: [],
    }
  let path = random.pick(prefixes)
  if (!random.chance(3)) path += `/namespaces/${random.pick(words)}`
  for (let left = random.below(4); left > 0; left--) path += `/${random.pick(words)}`
  for (let left = random.below(3); left > 0; left--) path = changed(random, path)
  if (random.chance(6)) path += random.pick(['/', '//', '/.', '/..', '%2f'])
  return {
    method: random.pick(methods),
    target: path + queryOf(random, 3),
    headers: random.chance(8) ? [random.pick(overrides)] : [],
  }
}

const members = [
  '"metadata":{"name":"a"}',
  '"metadata":{"name":"b","labels":{"name":"c"}}',
  '"metadata":{"name":"a","name":"b"}',
  '"metadata":{"name":"a","Name":"b"}',
  '"metadata":{"NAME":"a"}',
  '"metadata":{"n\\u0061me":"d"}',
  '"metadata":{"name":"a","name":null}',
  '"metadata":{"generateName":"e-"}',
  '"metadata":{"labels":{"x":"y"}}',
  '"metadata":{}',
  '"metadata":null',
  '"Metadata":{"name":"f"}',
  '"m\\u0065tadata":{"name":"g"}',
  '"metadata":{"name":"h\\u0000"}',
  '"metadata":{"name":"\xffi"}',
  '"__proto__":{"metadata":{"name":"j"}}',
  '"metadata":{"__proto__":{"name":"k"}}',
  '"metadata":[{"name":"l"}]',
  '"data":{"metadata":"m","name":"m"}',
]
const bodyTypes = [
  ...Array.from({ length: 6 }, () => 'application/json'),
  'application/json; charset=utf-16',
  'application/yaml',
  'application/vnd.kubernetes.protobuf',
  'application/vnd.kubernetes.protobuf',
]
/** Fields of an ObjectMeta (1 name, 2 generateName), each within a ConfigMap's field 1. */
const metas = [
  '0a0161',
  '0a0162',
  '0a01610a0162',
  '12026561',
  '',
  '0a00',
  '5a0a0a046e616d65120161',
  '0a03ff6162',
]

/** The body of a ConfigMap to be made, whose name more than one reader could take for another. */
export function oddBody(random: Random): { readonly type: string; readonly body: Buffer } {
  const type = random.pick(bodyTypes)
  if (type.includes('protobuf')) {
    const field = (number: number, ...parts: Buffer[]): Buffer => {
      const content = Buffer.concat(parts)
      return Buffer.concat([Buffer.of((number << 3) | 2, content.byteLength), content])
    }
    const meta = (): Buffer => field(1, Buffer.from(random.pick(metas), 'hex'))
    const kind = field(1, field(1, Buffer.from('v1')), field(2, Buffer.from('ConfigMap')))
    const objects = Array.from({ length: 1 + random.below(2) }, () =>
      field(2, ...Array.from({ length: 1 + random.below(3) }, meta)),
    )
    return { type, body: Buffer.concat([Buffer.from('k8s\0'), kind, ...objects]) }
  }
  const said = ['"kind":"ConfigMap"', '"apiVersion":"v1"', ...random.some(members, 3)].join(',')
  const [before, after] = [
    random.chance(12) ? random.pick(['\xef\xbb\xbf', ' ', '//x\n']) : '',
    random.chance(12) ? random.pick([' ', ',', '{}', '\0']) : '',
  ]
  return { type, body: Buffer.from(`${before}{${said}}${after}`, 'latin1') }
}

function queryOf(random: Random, most: number): string {
  const separator = random.chance(20) ? ';' : random.chance(12) ? '&&' : '&'
  const pairs = Array.from({ length: random.below(most + 1) }, () => {
    const [usual, selector] = [random.pick(names), random.pick(selectors)]
    const [name, value] = random.chance(3)
      ? ['fieldSelector', selector]
      : [usual, random.pick(/select/i.test(usual) ? selectors : values)]
    const pair = random.chance(9) ? name : `${name}=${value}`
    return random.chance(12) ? changed(random, pair) : pair
  })
  return pairs.length === 0 ? '' : `?${pairs.join(separator)}`
}

function changed(random: Random, text: string): string {
  const at = random.below(text.length + 1)
  const [before, after] = [text.slice(0, at), text.slice(at)]
  const letter = after.charCodeAt(0)
  switch (random.below(4)) {
    case 0:
      // A letter by its escape.
      return letter >= 0x21 ? `${before}%${letter.toString(16)}${after.slice(1)}` : text
    case 1:
      return before + after.slice(0, 1).toUpperCase() + after.slice(1)
    case 2:
      return before + after.slice(1)
    default:
      return before + random.pick(odd) + after
  }
}
