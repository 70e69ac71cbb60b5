import { Pkcs10CertificateRequestGenerator } from '@peculiar/x509'

/** An object of a kind that API servers keep: where, and one that they take. */
export interface Kept {
  /** Of its collection. */
  readonly path: string
  readonly object: Readonly<Record<string, unknown>> & { readonly metadata: { readonly name: string } }
}

const template = {
  metadata: { labels: { a: 'b' } },
  spec: { containers: [{ name: 'main', image: 'x:1' }] },
}
const selector = { matchLabels: { a: 'b' } }
const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'view' }
const webhook = {
  name: 'hook.example.com',
  clientConfig: { url: 'https://hook.example.com/' },
  rules: [{ apiGroups: ['hook.example.com'], apiVersions: ['v1'], operations: ['CREATE'], resources: ['x'] }],
  sideEffects: 'None',
  admissionReviewVersions: ['v1'],
}

/** A request for a certificate (RFC 2986), PEM. */
async function certificateRequest(): Promise<string> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
  const keys = await crypto.subtle.generateKey(algorithm, false, ['sign', 'verify'])
  const made = await Pkcs10CertificateRequestGenerator.create({
    name: 'CN=odd',
    keys,
    signingAlgorithm: algorithm,
  })
  return made.toString('pem')
}

/** `VERSION KIND RESOURCE`, in a namespace unless it ends in `!`, and what it is beside its name; `csr` is a certificate request, PEM. */
const kinds = (csr: string): readonly [string, Record<string, unknown>][] => [
  ['v1 ConfigMap configmaps', { data: { a: 'b' } }],
  ['v1 Secret secrets', { stringData: { a: 'b' } }],
  ['v1 Service services', { spec: { type: 'NodePort', ports: [{ port: 80, protocol: 'TCP' }] } }],
  ['v1 ServiceAccount serviceaccounts', {}],
  ['v1 Namespace namespaces!', {}],
  ['v1 Node nodes!', {}],
  ['v1 Pod pods', { spec: template.spec }],
  ['v1 PodTemplate podtemplates', { template }],
  ['v1 ReplicationController replicationcontrollers', { spec: { selector: { a: 'b' }, template } }],
  ['v1 Endpoints endpoints', { subsets: [{ addresses: [{ ip: '192.0.2.1' }], ports: [{ port: 80 }] }] }],
  [
    'v1 Event events',
    { involvedObject: { kind: 'Pod', name: 'odd', namespace: 'default' }, reason: 'Odd', message: 'odd' },
  ],
  ['v1 LimitRange limitranges', { spec: { limits: [{ type: 'Pod', max: { cpu: '9' } }] } }],
  ['v1 ResourceQuota resourcequotas', { spec: { hard: { configmaps: '99' } } }],
  [
    'v1 PersistentVolumeClaim persistentvolumeclaims',
    { spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } } },
  ],
  [
    'v1 PersistentVolume persistentvolumes!',
    { spec: { accessModes: ['ReadWriteOnce'], capacity: { storage: '1Gi' }, hostPath: { path: '/odd' } } },
  ],
  ['apps/v1 Deployment deployments', { spec: { selector, template } }],
  ['apps/v1 StatefulSet statefulsets', { spec: { selector, template, serviceName: 'odd' } }],
  ['apps/v1 DaemonSet daemonsets', { spec: { selector, template } }],
  ['apps/v1 ReplicaSet replicasets', { spec: { selector, template } }],
  ['apps/v1 ControllerRevision controllerrevisions', { revision: 1, data: { a: 'b' } }],
  [
    'batch/v1 Job jobs',
    { spec: { template: { ...template, spec: { ...template.spec, restartPolicy: 'Never' } } } },
  ],
  [
    'autoscaling/v1 HorizontalPodAutoscaler horizontalpodautoscalers',
    {
      spec: { maxReplicas: 2, scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'odd' } },
    },
  ],
  ['networking.k8s.io/v1 NetworkPolicy networkpolicies', { spec: { podSelector: {} } }],
  [
    'networking.k8s.io/v1 Ingress ingresses',
    { spec: { defaultBackend: { service: { name: 'odd', port: { number: 80 } } } } },
  ],
  ['networking.k8s.io/v1 IngressClass ingressclasses!', { spec: { controller: 'example.com/odd' } }],
  ['rbac.authorization.k8s.io/v1 Role roles', { rules: [] }],
  ['rbac.authorization.k8s.io/v1 RoleBinding rolebindings', { roleRef }],
  ['rbac.authorization.k8s.io/v1 ClusterRole clusterroles!', { rules: [] }],
  ['rbac.authorization.k8s.io/v1 ClusterRoleBinding clusterrolebindings!', { roleRef }],
  ['storage.k8s.io/v1 StorageClass storageclasses!', { provisioner: 'example.com/odd' }],
  ['storage.k8s.io/v1 CSIDriver csidrivers!', { spec: { attachRequired: false } }],
  ['scheduling.k8s.io/v1 PriorityClass priorityclasses!', { value: 7 }],
  ['coordination.k8s.io/v1 Lease leases', { spec: { holderIdentity: 'odd' } }],
  ['node.k8s.io/v1 RuntimeClass runtimeclasses!', { handler: 'odd' }],
  [
    'admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration validatingwebhookconfigurations!',
    { webhooks: [webhook] },
  ],
  [
    'admissionregistration.k8s.io/v1 MutatingWebhookConfiguration mutatingwebhookconfigurations!',
    { webhooks: [webhook] },
  ],
  [
    'certificates.k8s.io/v1 CertificateSigningRequest certificatesigningrequests!',
    {
      spec: {
        request: Buffer.from(csr).toString('base64'),
        signerName: 'example.com/odd',
        usages: ['digital signature'],
      },
    },
  ],
  [
    'apiregistration.k8s.io/v1 APIService apiservices!',
    {
      metadata: { name: 'v1.odd.example.com' },
      spec: { group: 'odd.example.com', version: 'v1', groupPriorityMinimum: 1, versionPriority: 1 },
    },
  ],
  [
    'apiextensions.k8s.io/v1 CustomResourceDefinition customresourcedefinitions!',
    {
      metadata: { name: 'carts.shop.example.com' },
      spec: {
        group: 'shop.example.com',
        scope: 'Namespaced',
        names: { plural: 'carts', kind: 'Cart' },
        versions: [
          {
            name: 'v1',
            served: true,
            storage: true,
            schema: {
              openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
            },
          },
        ],
      },
    },
  ],
]

/** One object of each kind of Kubernetes' own. */
export async function keptObjects(): Promise<readonly Kept[]> {
  return kinds(await certificateRequest()).map(([said, more]) => {
    const [apiVersion = '', kind = '', resource = ''] = said.replace('!', '').split(' ')
    const base = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`
    const path = `${base}/${said.endsWith('!') ? '' : 'namespaces/default/'}${resource}`
    return { path, object: { apiVersion, kind, metadata: { name: 'kept' }, ...more } }
  })
}
