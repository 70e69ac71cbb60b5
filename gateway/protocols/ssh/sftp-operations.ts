import type { Operation } from '../../core/operation.ts'
import { Fields, OpenFlag, Type } from './sftp-codec.ts'

/** A path of a request; `follow`: the host acts on what a link at its end points to. */
export interface Named {
  readonly path: string
  readonly follow: boolean
}

/** What a request asks of the host. */
export type Asked =
  /** Acts on paths: each has to be resolved, and the whole decided, before it is sent. `rebuild` puts it together with the resolved ones. */
  | {
      readonly kind: 'paths'
      readonly verb: string
      readonly paths: readonly Named[]
      operations(resolved: readonly string[]): readonly Operation[]
      rebuild(resolved: readonly string[]): readonly (Buffer | string)[]
      /** What a handle in the answer stands for. */
      readonly opens?: { readonly writable: boolean; readonly folder: boolean }
    }
  /** Acts on what is open. */
  | { readonly kind: 'handle'; readonly handle: Buffer; readonly changes: boolean }
  /** Tells nothing but how the host is set up, or what a name resolves to. */
  | { readonly kind: 'plain' }
  | { readonly kind: 'unsupported' }

const read = (path: string): Operation => ({ actions: ['sftp-read'], resource: path, reads: true })
const write = (path: string): Operation => ({ actions: ['sftp-write'], resource: path, reads: false })

/** What a packet asks. Throws `Refused` when it cannot be read. */
export function understand(packet: Buffer): Asked {
  const type = packet.readUInt8(4)
  const fields = new Fields(packet)
  switch (type) {
    case Type.open:
      return understandOpen(fields)
    case Type.opendir:
      return one('list', fields, { follow: true, of: read, opens: { writable: false, folder: true } })
    case Type.stat:
      return one('stat', fields, { follow: true, of: read })
    case Type.lstat:
      return one('lstat', fields, { follow: false, of: read })
    case Type.readlink:
      return one('readlink', fields, { follow: false, of: read })
    case Type.setstat:
      return one('change attributes of', fields, { follow: true, of: write })
    case Type.remove:
      return one('remove', fields, { follow: false, of: write })
    case Type.mkdir:
      return one('make folder', fields, { follow: false, of: write })
    case Type.rmdir:
      return one('remove folder', fields, { follow: false, of: write })
    case Type.rename:
      return two('rename', fields)
    case Type.symlink:
      return understandSymlink(fields)
    case Type.close:
    case Type.read:
    case Type.write:
    case Type.fstat:
    case Type.readdir:
      return { kind: 'handle', handle: fields.string(), changes: false }
    case Type.fsetstat:
      return { kind: 'handle', handle: fields.string(), changes: true }
    case Type.realpath:
      return { kind: 'plain' }
    case Type.extended:
      return understandExtended(fields)
    default:
      return { kind: 'unsupported' }
  }
}

function one(
  verb: string,
  fields: Fields,
  how: {
    follow: boolean
    of: (path: string) => Operation
    opens?: { writable: boolean; folder: boolean }
    name?: string
  },
): Asked {
  const path = fields.text()
  const rest = fields.rest()
  return {
    kind: 'paths',
    verb,
    paths: [{ path, follow: how.follow }],
    operations: ([resolved = '']) => [how.of(resolved)],
    rebuild: ([resolved = '']) => [...(how.name === undefined ? [] : [how.name]), resolved, rest],
    ...(how.opens === undefined ? {} : { opens: how.opens }),
  }
}

/** Both names change; neither is read. */
function two(verb: string, fields: Fields, name?: string, hard = false): Asked {
  const [from, to] = [fields.text(), fields.text()]
  return {
    kind: 'paths',
    verb,
    paths: [
      { path: from, follow: false },
      { path: to, follow: false },
    ],
    // A second name for a file is a second way to read it.
    operations: ([one = '', other = '']) => [write(one), write(other), ...(hard ? [read(one)] : [])],
    rebuild: ([one = '', other = '']) => [...(name === undefined ? [] : [name]), one, other],
  }
}

function understandOpen(fields: Fields): Asked {
  const path = fields.text()
  const flags = fields.uint32()
  const rest = fields.rest()
  const writable = (flags & ~OpenFlag.read) !== 0
  return {
    kind: 'paths',
    verb: writable ? 'write' : 'read',
    paths: [{ path, follow: true }],
    operations: ([resolved = '']) => [
      ...((flags & OpenFlag.read) !== 0 || !writable ? [read(resolved)] : []),
      ...(writable ? [write(resolved)] : []),
    ],
    rebuild: ([resolved = '']) => [resolved, Buffer.concat([flagsOf(flags), rest])],
    opens: { writable, folder: false },
  }
}

function flagsOf(flags: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(flags >>> 0)
  return bytes
}

/** OpenSSH sends the target first (PROTOCOL §4.1). Where a link points to is resolved by whoever follows it, so it has to be readable. */
function understandSymlink(fields: Fields): Asked {
  const [target, link] = [fields.text(), fields.text()]
  const absolute = target.startsWith('/') ? target : `${link.slice(0, link.lastIndexOf('/') + 1)}${target}`
  return {
    kind: 'paths',
    verb: 'link',
    paths: [
      { path: absolute, follow: true },
      { path: link, follow: false },
    ],
    operations: ([one = '', other = '']) => [read(one), write(other)],
    rebuild: ([, other = '']) => [target, other],
  }
}

function understandExtended(fields: Fields): Asked {
  const name = fields.text()
  switch (name) {
    case 'posix-rename@openssh.com':
      return two('rename', fields, name)
    case 'hardlink@openssh.com':
      return two('link', fields, name, true)
    case 'statvfs@openssh.com':
      return one('stat file system of', fields, { follow: true, of: read, name })
    case 'lsetstat@openssh.com':
      return one('change attributes of', fields, { follow: false, of: write, name })
    case 'fsync@openssh.com':
    case 'fstatvfs@openssh.com':
      return { kind: 'handle', handle: fields.string(), changes: false }
    case 'limits@openssh.com':
    case 'expand-path@openssh.com':
    case 'home-directory':
    case 'users-groups-by-id@openssh.com':
      return { kind: 'plain' }
    default:
      return { kind: 'unsupported' }
  }
}
