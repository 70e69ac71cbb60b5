// Builds what is published and what the runner starts: `node build.ts`; with --self-contained also the executables for
// images without Node; with --check, says whether actions/dist is what the sources give.
import { existsSync } from 'node:fs'
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, type BuildOptions } from 'esbuild'
import { buildJobFile, buildJobFiles } from './build/job-files.ts'
import { writePlugin } from './build/plugins.ts'

const root = fileURLToPath(new URL('.', import.meta.url))
const common = {
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  target: 'node24',
  charset: 'utf8',
  legalComments: 'none',
  logLevel: 'warning',
} satisfies BuildOptions

if (process.argv.includes('--check')) await check()
else {
  await buildActions(join(root, 'actions/dist'))
  await buildExecutable()
  await buildPlugins()
}

/** Node strips no types under node_modules, so the installed executable is JavaScript; packages stay outside. */
async function buildExecutable(): Promise<void> {
  await rm(join(root, 'dist'), { recursive: true, force: true })
  await build({
    ...common,
    entryPoints: {
      'hoop-access': 'bin/hoop-access.ts',
      'parser-worker': 'gateway/sql/parser-worker.ts',
      'relay-worker': 'gateway/workers/worker.ts',
    },
    outdir: join(root, 'dist'),
    format: 'esm',
    packages: 'external',
    splitting: true,
    chunkNames: 'part-[hash]',
  })
  // What the pages load stands beside the bundle, as beside gateway/console/assets.ts.
  await cp(join(root, 'gateway/console/assets'), join(root, 'dist/assets'), { recursive: true })
}

/** What the gateway serves to jobs, and the plugins that pin it. */
async function buildPlugins(): Promise<void> {
  const files = await buildJobFiles(join(root, 'dist/client'), {
    selfContained: process.argv.includes('--self-contained'),
  })
  for (const plugin of ['gitlab-component', 'jenkins-shim'] as const)
    await writePlugin(plugin, join(root, 'dist/plugins', plugin), files)
}

/** The runner installs nothing: everything is inlined. CommonJS, as @actions/core's dependencies need `require`. */
async function buildActions(outdir: string): Promise<void> {
  await build({
    ...common,
    entryPoints: {
      main: 'actions/access/main.ts',
      post: 'actions/access/post.ts',
      approve: 'actions/approve/main.ts',
    },
    outdir,
    format: 'cjs',
  })
  // What later steps call, and what renews in the background.
  await buildJobFile(join(outdir, 'hoop-access.cjs'))
  await writeFile(join(outdir, 'package.json'), '{ "type": "commonjs" }\n')
}

async function check(): Promise<void> {
  const fresh = await mkdtemp(join(tmpdir(), 'hoop-build-'))
  try {
    await buildActions(fresh)
    const kept = join(root, 'actions/dist')
    const names = new Set([...(await readdir(fresh)), ...(await readdir(kept))])
    for (const name of names) {
      const [wanted, found] = await Promise.all([fresh, kept].map((folder) => readOr(join(folder, name))))
      if (
        wanted === null ||
        found === null ||
        wanted === undefined ||
        found === undefined ||
        !wanted.equals(found)
      ) {
        console.error(
          `actions/dist/${name} is not what the sources give: run \`npm run build\` and commit it`,
        )
        process.exitCode = 1
      }
    }
  } finally {
    await rm(fresh, { recursive: true, force: true })
  }
}

async function readOr(path: string): Promise<Buffer | null> {
  return existsSync(path) ? readFile(path) : null
}
