// tsyringe, which @peculiar/x509 stands on, wants the four functions of the Reflect metadata proposal and refuses to
// load without them. Import this file before @peculiar/x509. A polyfill that is already there is left alone.

const records = new WeakMap<object, Map<unknown, unknown>>()

function own(key: unknown, target: object): unknown {
  return records.get(target)?.get(key)
}

function inherited(key: unknown, target: object): unknown {
  for (let node: object | null = target; node !== null; node = Reflect.getPrototypeOf(node)) {
    const value = own(key, node)
    if (value !== undefined) return value
  }
  return undefined
}

function define(key: unknown, value: unknown, target: object): void {
  let record = records.get(target)
  if (record === undefined) records.set(target, (record = new Map()))
  record.set(key, value)
}

if (!('getMetadata' in Reflect)) {
  Object.assign(Reflect, {
    getMetadata: inherited,
    getOwnMetadata: own,
    defineMetadata: define,
    metadata: (key: unknown, value: unknown) => (target: object) => define(key, value, target),
  })
}
