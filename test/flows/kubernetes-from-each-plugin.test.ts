import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type JenkinsOidc, startJenkinsOidc } from '../fakes/jenkins-oidc.ts'
import { startJob } from '../fakes/runner.ts'
import { type Pipelines, startPipelines } from '../gitlab/pipeline.ts'
import { groovy } from '../jenkins/groovy.ts'
import { executable, root } from '../servers/gateway.ts'
import { type KubernetesServer, missingForKubernetes, startKubernetes } from '../servers/kubernetes.ts'
import { lacks, told } from '../servers/programs.ts'
import { run } from './stack.ts'

// The same two questions, by kubectl as it is, in a job of each platform that has a kubeconfig of its own at home.
const one =
  'kubectl config current-context; kubectl get configmap settings -o "jsonpath={.data.colour}"; echo'
const both =
  'kubectl config get-contexts -o name; for at in prod second; do kubectl --context $at -n kube-system get cm there -o name; done'
const answerOfOne = 'prod\ngreen\n'
const answerOfBoth = 'prod\nsecond\nconfigmap/there\nconfigmap/there\n'
const own = '# mine\n'

let cluster: KubernetesServer
let pipelines: Pipelines
let jenkins: JenkinsOidc
let folder: string

describe.skipIf(told(missingForKubernetes))('a kubeconfig for each job', () => {
  beforeAll(async () => {
    cluster = await startKubernetes()
    jenkins = await startJenkinsOidc(['hoop'])
    folder = await mkdtemp(join(tmpdir(), 'hoop-plugins-'))
    await mkdir(join(folder, '.kube'))
    await writeFile(join(folder, '.kube/config'), own)
    const maps = (namespace: string): string => `/api/v1/namespaces/${namespace}/configmaps`
    await cluster.call('POST', maps('default'), { metadata: { name: 'settings' }, data: { colour: 'green' } })
    await cluster.call('POST', maps('kube-system'), { metadata: { name: 'there' } })
    const rbac = '/apis/rbac.authorization.k8s.io/v1'
    await cluster.call('POST', `${rbac}/clusterroles`, {
      metadata: { name: 'reading' },
      rules: [{ apiGroups: [''], resources: ['configmaps'], verbs: ['get', 'list'] }],
    })
    await cluster.call('POST', `${rbac}/clusterrolebindings`, {
      metadata: { name: 'certified' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'reading' },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'certified' }],
    })
    // One with a token, one with a certificate.
    const { url, tokens, ca, certified } = cluster
    const said = JSON.stringify
    const connections = `
  prod: { type: kubernetes, url: "${url}", token: "${tokens.admin}", ca: ${said(ca)} }
  second: { type: kubernetes, url: "${url}", client_cert: ${said(certified.certPem)}, client_key: ${said(certified.keyPem)}, ca: ${said(ca)} }
  stranger: { type: kubernetes, url: "${url}", token: "${tokens.admin}" }
`
    const grant = (connection: string, as = ''): string =>
      `      - { connection: ${connection}, ${as}allow: [{ operations: [read], resources: [configmaps] }] }\n`
    const stages = Object.entries({
      one: grant('prod'),
      both: grant('prod') + grant('second'),
      other: grant('second', `as: { token: ${tokens.nobody} }, `) + grant('stranger'),
    }).map(
      ([name, grants]) => `
  ${name}:
    subjects:
      - { issuer: github, claims: { repository_id: "1296269" } }
      - { issuer: gitlab, claims: { project_id: "7", ref_protected: "true" } }
      - { issuer: jenkins, claims: { sub: "**/job/shop/", kid: hoop } }
    grants:
${grants}`,
    )
    pipelines = await startPipelines((yaml) =>
      yaml
        .replace(
          'issuers:\n',
          `issuers:\n  jenkins: { platform: jenkins, url: "${jenkins.url}", allow_private: true }\n`,
        )
        .replace('connections:\n', `connections:${connections}`)
        .replace('stages:\n', `stages:${stages.join('')}`),
    )
  }, 120_000)
  afterAll(async () => {
    await pipelines?.close()
    await jenkins?.close()
    await cluster?.stop()
    await rm(folder, { recursive: true, force: true })
  })

  const reach = (): { gateway: string; ca: string } => ({
    gateway: pipelines.stack.url,
    ca: pipelines.stack.gateway.pin,
  })
  const questions = [
    ['one', one, answerOfOne],
    ['both', both, answerOfBoth],
  ] as const

  test.each(questions)('GitHub: the action, %s', async (stage, script, answer) => {
    pipelines.stack.oidc.setJob({ run_id: `1${stage.length}` })
    const job = await startJob({ root, oidc: pipelines.stack.oidc, env: { HOME: folder } })
    try {
      const opened = await job.use({ ...reach(), stage })
      expect(opened.code, opened.log).toBe(0)
      const asked = await job.run(['sh', '-c', script])
      expect(asked.log.trim()).toBe(answer.trim())
      await job.finish()
      // What is left of it leads nowhere.
      expect((await job.run(['sh', '-c', script])).log).not.toContain('configmap/')
    } finally {
      await job.remove()
    }
  })

  test.each(questions)('the executable: open, and exec, %s', async (stage, script, answer) => {
    const env = {
      HOME: folder,
      RUNNER_TEMP: folder,
      HOOP_GATEWAY: reach().gateway,
      HOOP_CA: reach().ca,
      HOOP_ID_TOKEN: await pipelines.stack.oidc.issue(
        { run_id: `2${stage.length}` },
        { aud: pipelines.stack.url },
      ),
    }
    const hoop = (...args: string[]) => run(process.execPath, [executable, ...args], env)
    const opened = await hoop('open', '--platform', 'token', '--stage', stage)
    expect(opened).toMatchObject({ code: 0 })
    const home = opened.out.trim()
    const settings = await run(process.execPath, [executable, 'env'], { ...env, HOOP_HOME: home })
    const asked = await run('sh', ['-c', `${settings.out}\n${script}`], { HOME: folder })
    expect(asked).toMatchObject({ out: answer })
    const child = await run(process.execPath, [executable, 'exec', '--', 'sh', '-c', script], {
      ...env,
      HOOP_HOME: home,
    })
    expect(child).toMatchObject({ code: 0, out: answer })
    expect(await run(process.execPath, [executable, 'close'], { ...env, HOOP_HOME: home })).toMatchObject({
      code: 0,
    })
  })

  test.skipIf(lacks('git', 'rsync')).each(questions)(
    'GitLab: the component, %s',
    async (stage, script, answer) => {
      const yaml = `include:
  - component: $CI_SERVER_FQDN/$CI_PROJECT_PATH/access@$CI_COMMIT_SHA
    inputs: { gateway: "${reach().gateway}", ca: "${reach().ca}", stage: ${stage} }
job:
  extends: .hoop-access
  script:
    - mkdir -p ~/.kube && printf '${own.trim()}' >~/.kube/config
    - ${JSON.stringify(script)}
    - cat ~/.kube/config
`
      const token = await pipelines.oidc.issue('push', {}, { aud: reach().gateway })
      const ran = await pipelines.checkout.run(yaml, ['job'], token)
      expect(ran.code, ran.out + ran.err).toBe(0)
      // gitlab-ci-local puts the job's name before each line.
      const lines = ran.out.replaceAll(/^job\s+>\s/gm, '')
      for (const line of [...answer.trim().split('\n'), own.trim()]) expect(lines).toContain(line)
    },
  )

  test.skipIf(lacks('groovy', 'java')).each(questions)(
    'Jenkins: the library, %s',
    async (stage, script, answer) => {
      const token = await jenkins.issue(
        'hoop',
        { job: 'shop', number: stage.length },
        {},
        { aud: reach().gateway },
      )
      const steps = `hoopAccess(gateway: '${reach().gateway}', ca: '${reach().ca}', stage: '${stage}', credentialsId: 'hoop') {
      sh '${script}'
    }`
      const { failure, log } = (await groovy('steps.groovy', [root, steps, pipelines.built.library], {
        env: { PATH: process.env.PATH, HOME: folder, WORKSPACE_TMP: folder },
        credentials: { hoop: [token] },
      })) as { failure: string | null; log: string }
      expect(failure, log).toBeNull()
      expect(log).toContain(answer.trim())
    },
  )

  test('the file of one’s own is what it was', async () => {
    expect(await readFile(join(folder, '.kube/config'), 'utf8')).toBe(own)
  })

  test('the stage’s token is said in place of the certificate, and a cluster that is not known is told nothing', async () => {
    const job = await pipelines.stack.open('other')
    const kubectl = (context: string) =>
      run('kubectl', ['--context', context, 'get', '--raw', `/k8s/${context}/api/v1/configmaps`], {
        KUBECONFIG: job.env.KUBECONFIG ?? '',
      })
    expect((await kubectl('second')).err).toContain('User "nobody" cannot list resource "configmaps"')
    expect((await kubectl('stranger')).err).toContain('the target’s certificate does not verify')
  })
})
