// The runtime as its admin API shows it.
import { queryOptions, useQueryClient } from '@tanstack/react-query'
import { useEffect, useState } from 'react'
import { apply, happening } from '../model/events'
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
  beside?: boolean
}

/** Measure is one thing that bounds or confines a running component. */
export interface Measure {
  what: string
  enforced: boolean
  by?: string
  why?: string
}

export interface Reference {
  name: string
  service: string
  version: string
  cardinality: string
  policy: string
  option: string
  filter: string
  bound: string[] | null
  suspended: boolean
}

export interface Detail {
  summary: string
  generation: number
  since: string
  package: string
  digest: string
  lastResult: string
  provides: string[] | null
  requires: Reference[] | null
  limits: Measure[] | null
  confinement: Measure[] | null
}

export interface GraphNode {
  name: string
  state: string
  health: string
  cause: Cause | null
}

/** GraphEdge is one reference: `from` needs `to`. */
export interface GraphEdge {
  from: string
  to: string
  reference: string
  service: string
  cardinality: string
  state: string
}

export interface Graph {
  nodes: GraphNode[]
  edges: GraphEdge[]
}

/** Boot is how the last start went, in milliseconds since the kernel's start. */
export interface Boot {
  since: string
  kernelMs: number
  totalMs: number
  components: BootStep[] | null
  critical: string[] | null
}

export interface BootStep {
  name: string
  waitedMs: number
  startingMs: number
  startedAtMs: number
  activeAtMs: number
  after: string
  attempts: number
}

export interface Setting {
  key: string
  value: unknown
  layer: string
  file: string
  line: number
}

export interface CatalogueEntry {
  code: string
  meaning: string
  fix: string
  raisedIn: string
}

export interface Service {
  service: string
  version: string
  provider: string
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

export const componentQuery = (name: string) =>
  queryOptions({
    queryKey: ['component', name],
    queryFn: ({ signal }) => request<Component & { detail?: Detail }>(`/api/components/${encodeURIComponent(name)}`, { signal }),
    refetchInterval: poll,
  })

export const graphQuery = queryOptions({
  queryKey: ['graph'],
  queryFn: ({ signal }) => request<Graph>('/api/graph', { signal }),
  refetchInterval: poll,
})

export const servicesQuery = queryOptions({
  queryKey: ['services'],
  queryFn: ({ signal }) => request<Service[]>('/api/services', { signal }),
})

export const bootQuery = queryOptions({
  queryKey: ['boot'],
  queryFn: ({ signal }) => request<Boot>('/api/boot', { signal }),
})

export const settingsQuery = (name: string) =>
  queryOptions({
    queryKey: ['settings', name],
    queryFn: ({ signal }) => request<Setting[]>(`/api/config?key=${encodeURIComponent(name)}`, { signal }),
  })

export const errorQuery = (code: string) =>
  queryOptions({
    queryKey: ['error', code],
    queryFn: ({ signal }) => request<CatalogueEntry>(`/api/errors/${encodeURIComponent(code)}`, { signal }),
    staleTime: Number.POSITIVE_INFINITY,
  })

export type Verb = 'restart' | 'start' | 'stop' | 'enable' | 'disable'

/** carry answers when the component has reached the state that was asked for, or says why it has not. */
export const carry = (verb: Verb, name: string) =>
  request<unknown>(`/api/components/${encodeURIComponent(name)}/${verb}`, { method: 'POST', signal: AbortSignal.timeout(130_000) })

export type Live = 'connecting' | 'live' | 'lost'

/** Happening is a message of GET /api/events, as far as the page reads it. */
export interface Happening {
  kind: string
  component: string
  state?: string
  health?: string
}

const kept = ['components', 'component', 'plan', 'status', 'diag', 'history', 'graph', 'services', 'boot', 'settings']

/**
 * useEvents shows each transition at once, and reads the runtime anew whenever the server says that something happened. Bursts
 * cost one reading.
 */
export function useEvents(): Live {
  const client = useQueryClient()
  const [live, setLive] = useState<Live>('connecting')
  useEffect(() => {
    const source = new EventSource('/api/events')
    let timer: number | undefined
    const happened = () => {
      timer ??= window.setTimeout(() => {
        timer = undefined
        for (const key of kept) void client.invalidateQueries({ queryKey: [key] })
      }, 200)
    }
    source.onopen = () => {
      setLive('live')
      happened()
    }
    source.onerror = () => setLive('lost')
    source.onmessage = message => {
      const event = happening(message.data)
      if (event) {
        client.setQueryData(componentsQuery.queryKey, old => old && apply(old, event))
        client.setQueryData(componentQuery(event.component).queryKey, old => old && apply([old], event)[0])
        client.setQueryData(graphQuery.queryKey, old => old && { ...old, nodes: apply(old.nodes, event) })
      }
      happened()
    }
    return () => {
      source.close()
      window.clearTimeout(timer)
    }
  }, [client])
  return live
}
