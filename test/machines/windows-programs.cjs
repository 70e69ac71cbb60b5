'use strict'
// Loaded first by every Node of the Windows of tests: some are programs of another name (see windows.ts).
const { appendFileSync, writeSync } = require('node:fs')
const { Socket } = require('node:net')
const path = require('node:path')

// Node has made a path of the first word.
const [, first = '', ...rest] = process.argv
const fail = () => process.exit(87)
const sid = 'S-1-5-21-1004336348-1177238915-682003330-1001'

switch (path.basename(process.execPath).toLowerCase()) {
  case 'whoami.exe':
    if (`${path.basename(first)} ${rest.join(' ')}` !== 'user /fo csv /nh') fail()
    writeSync(1, `"BUILD\\\\kontofuehrer","${sid}"\r\n`)
    process.exit(0)
    break
  case 'icacls.exe':
    if (rest.join(' ') !== `/inheritance:r /grant:r *${sid}:(OI)(CI)F /q`) fail()
    appendFileSync(process.env.WINDOWS_CALLS, `${JSON.stringify([first, ...rest])}\n`)
    process.exit(0)
    break
  default:
    // Debian's Wine knows no TCP_KEEPIDLE, and Node's fetch does not connect without it.
    Socket.prototype.setKeepAlive = function setKeepAlive() {
      return this
    }
}
