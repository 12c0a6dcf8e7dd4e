// The runtime as its admin API shows it.
import { queryOptions, useQueryClient } from '@tanstack/react-query'
import { useEffect, useState } from 'react'
import { type Cause, request } from './http'

export interface Component {
  name: string
  version: string
  state: string
  health: string
  pid: number
  restarts: number
  disabledBy: string
  cause: Cause | null
}

export interface Wire {
  reference: string
  service: string
  provider: string
  version: string
  cardinality: string
}

export interface Planned {
  name: string
  installed: boolean
  enabled: boolean
  runs: boolean
  rule: string
  order: number
  wires: Wire[] | null
  causes: Cause[] | null
}

export interface Plan {
  components: Planned[]
}

export interface Status {
  state: string
  profile: string
  guardianPid: number
  kernelPid: number
  since: string
  nodeId: string
  version: string
}

export interface Diagnosis {
  name: string
  state: string
  health: string
  since: string
  disabledBy: string
  cause: Cause | null
  blocks: string[] | null
  lastResult: string
  evidence: string[] | null
}

export interface Transition {
  seq: number
  time: string
  from: string
  to: string
  reason: string
  actor: string
}

const poll = 10_000

export const componentsQuery = queryOptions({
  queryKey: ['components'],
  queryFn: ({ signal }) => request<Component[]>('/api/components', { signal }),
  refetchInterval: poll,
})

export const planQuery = queryOptions({
  queryKey: ['plan'],
  queryFn: ({ signal }) => request<Plan>('/api/plan', { signal }),
  refetchInterval: poll,
})

export const statusQuery = queryOptions({
  queryKey: ['status'],
  queryFn: ({ signal }) => request<Status>('/api/status', { signal }),
  refetchInterval: poll,
})

export const diagQuery = (name: string) =>
  queryOptions({
    queryKey: ['diag', name],
    queryFn: ({ signal }) => request<Diagnosis>(`/api/components/${encodeURIComponent(name)}/diag`, { signal }),
  })

export const historyQuery = (name: string) =>
  queryOptions({
    queryKey: ['history', name],
    queryFn: ({ signal }) => request<Transition[]>(`/api/components/${encodeURIComponent(name)}/history`, { signal }),
  })

/** restart answers when the component has reached its state again, or says why it has not. */
export const restart = (name: string) =>
  request<unknown>(`/api/components/${encodeURIComponent(name)}/restart`, { method: 'POST', signal: AbortSignal.timeout(120_000) })

export type Live = 'connecting' | 'live' | 'lost'

/** useEvents reads the runtime anew whenever the server says that something happened. Bursts cost one reading. */
export function useEvents(): Live {
  const client = useQueryClient()
  const [live, setLive] = useState<Live>('connecting')
  useEffect(() => {
    const source = new EventSource('/api/events')
    let timer: number | undefined
    const happened = () => {
      timer ??= window.setTimeout(() => {
        timer = undefined
        for (const key of ['components', 'plan', 'status', 'diag', 'history']) void client.invalidateQueries({ queryKey: [key] })
      }, 200)
    }
    source.onopen = () => {
      setLive('live')
      happened()
    }
    source.onerror = () => setLive('lost')
    source.onmessage = happened
    for (const kind of ['transition', 'health', 'service', 'artifact', 'status', 'lost']) source.addEventListener(kind, happened)
    return () => {
      source.close()
      window.clearTimeout(timer)
    }
  }, [client])
  return live
}
