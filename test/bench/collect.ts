// Loaded into a gateway that is measured (`--import`): collects garbage when it is told to, so that what is left is in use.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { isMainThread } from 'node:worker_threads'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void
if (isMainThread) {
  process.on('SIGUSR2', () => {
    // What the first pass sets free by finalizers goes with the second.
    collect()
    setTimeout(collect, 200)
  })
} else {
  // Threads hear of no signal.
  setInterval(collect, 1000).unref()
}
