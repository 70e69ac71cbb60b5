import { spawnSync } from 'node:child_process'
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { type GitlabOidc, startGitlabOidc } from '../fakes/gitlab-oidc.ts'
import { type Ran, type Stack, run, startStack } from '../flows/stack.ts'
import { type BuiltPlugins, buildPlugins } from '../servers/job-files.ts'

/** A gateway that knows a GitLab and serves the executable for jobs, and the component as a release has it. */
export interface Pipelines {
  readonly oidc: GitlabOidc
  readonly stack: Stack
  readonly checkout: Checkout
  readonly built: BuiltPlugins
  close(): Promise<void>
}

export async function startPipelines(edit: (yaml: string) => string): Promise<Pipelines> {
  const oidc = await startGitlabOidc()
  const folder = await mkdtemp(join(tmpdir(), 'hoop-built-'))
  const built = await buildPlugins(folder)
  const checkout = await checkoutComponent(built.component)
  const issuer = `gitlab: { platform: gitlab, url: "${oidc.url}", allow_private: true }`
  const stack = await startStack({
    prepare: (data) => built.offer(data),
    edit: (yaml) => edit(yaml.replace('issuers:\n', `issuers:\n  ${issuer}\n`)),
  })
  return {
    oidc,
    stack,
    checkout,
    built,
    async close() {
      await stack.close()
      await checkout.close()
      await oidc.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** A checkout of the component's project (`component`, as the build writes it), whose own pipeline includes the component as users do. */
interface Checkout {
  /** Where jobs keep private folders. */
  readonly temporary: string
  /** Runs jobs of this .gitlab-ci.yml; `token` stands for what `id_tokens` brings, which gitlab-ci-local leaves unset. */
  run(
    yaml: string,
    jobs: readonly string[],
    token: string,
    variables?: Readonly<Record<string, string>>,
  ): Promise<Ran>
  close(): Promise<void>
}

async function checkoutComponent(component: string): Promise<Checkout> {
  const folder = await mkdtemp(join(tmpdir(), 'hoop-gitlab-'))
  const project = join(folder, 'project')
  const temporary = join(folder, 'tmp')
  await mkdir(temporary)
  await cp(component, project, { recursive: true })
  const git = (...args: string[]): void => {
    const done = spawnSync('git', ['-c', 'user.name=test', '-c', 'user.email=test@example.com', ...args], {
      cwd: project,
      encoding: 'utf8',
    })
    if (done.status !== 0) throw new Error(`git ${args.join(' ')}: ${done.stderr}`)
  }
  git('init', '-q', '-b', 'main')
  git('remote', 'add', 'origin', 'git@gitlab.example:acme/hoop-access.git')
  git('add', '.')
  git('commit', '-q', '-m', 'component')
  git('update-ref', 'refs/remotes/origin/main', 'HEAD')
  git('symbolic-ref', 'refs/remotes/origin/HEAD', 'refs/remotes/origin/main')
  const require = createRequire(import.meta.url)
  const program = require.resolve('gitlab-ci-local/dist/index.js')
  return {
    temporary,
    async run(yaml, jobs, token, more = {}) {
      await writeFile(join(project, '.gitlab-ci.yml'), yaml)
      const set = { ...more, HOOP_ID_TOKEN: token, TMPDIR: temporary }
      const variables = Object.entries(set).flatMap(([name, value]) => ['--variable', `${name}=${value}`])
      return run(
        process.execPath,
        [program, '--cwd', relative('.', project), '--shell-executor-no-image', ...variables, ...jobs],
        {
          HOME: folder,
        },
      )
    },
    close: () => rm(folder, { recursive: true, force: true }),
  }
}
