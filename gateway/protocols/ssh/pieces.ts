/** Pieces up to this length are joined: a client may send its bytes one by one, and each piece costs a hundred more. */
const SMALL = 2048

/** Adds a piece at the end. */
export function addPiece(pieces: Buffer[], chunk: Buffer): void {
  const last = pieces.at(-1)
  if (last !== undefined && last.length + chunk.length <= SMALL)
    pieces[pieces.length - 1] = Buffer.concat([last, chunk])
  else pieces.push(chunk)
}
