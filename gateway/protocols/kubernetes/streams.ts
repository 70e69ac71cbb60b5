import type { Request } from '../../core/operation.ts'
import type { HttpRequest } from '../../http-relay/message.ts'
import type { Tunnel } from '../../http-relay/tunnel.ts'
import { carryChannels } from './channels.ts'
import { carryPortForward } from './port-forward.ts'
import { type ResourceInfo, readQuery, truth } from './request-info.ts'

/** The streams of a pod that a request asks for: exec and attach by channels, port-forward as it is, each port by `requestFor`. */
export function streamOf(
  message: HttpRequest,
  info: ResourceInfo,
  requestFor: (port: number) => Request,
): Tunnel {
  if (info.subresource === 'portforward')
    return {
      protocols: ['SPDY/3.1+portforward.k8s.io'],
      carry: (parts) => carryPortForward({ ...parts, requestFor }),
    }
  const query = /\?.*/.exec(message.url ?? '')?.[0] ?? ''
  const terminal = truth(readQuery(query).get('tty'))
  return {
    protocols: ['v5.channel.k8s.io', 'v4.channel.k8s.io'],
    carry: (parts) => carryChannels({ ...parts, name: info.subresource, terminal }),
  }
}
