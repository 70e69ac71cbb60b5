import type { Socket } from 'node:net'

/** More answers than this no client leaves unread before it has shown who it is. */
const STRANGERS = 65_536
/** What lanes leave on a line stays below this: the rest are answers to requests, which SSH has no window for. */
const ROOM = 4 * 1_048_576

/** Ends a client that asks on and reads no answer; gives what stops the watch. */
export function endUnread(client: Socket, end: () => void): () => void {
  const look = (): void => {
    if (client.writableLength > STRANGERS) end()
  }
  client.on('data', look)
  return () => void client.off('data', look)
}

/** Reads no more of a client that reads no answers, until it has read them all; its keep-alives end it if it never does. */
export function waitUntilRead(client: Socket): void {
  client.on('data', () => {
    if (client.writableLength <= ROOM || client.isPaused()) return
    client.pause()
    client.once('drain', () => client.resume())
  })
}
