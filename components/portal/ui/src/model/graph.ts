// The part of the graph that is shown: one component and what is near. It must not know how it is drawn.
import type { Graph, GraphEdge, GraphNode, Reference, Service } from '../api/kernel'

/** Join stands between two components: all references of one to the other. */
export interface Join {
  from: string
  to: string
  references: GraphEdge[]
  /** bound if all references are, else the worst of them: suspended before planned. */
  state: string
}

export interface Near {
  nodes: (GraphNode & { distance: number })[]
  joins: Join[]
  /** How many components within the distance are left out, because more could not be read. */
  leftOut: number
}

/** near gives what is at most `hops` references away, in either direction, nearest first and at most `most` components. */
export function near(graph: Graph, focus: string, hops: number, most = 60): Near {
  const nodes = new Map(graph.nodes.map(n => [n.name, n]))
  const beside = new Map<string, Set<string>>()
  const join = (a: string, b: string) => beside.set(a, (beside.get(a) ?? new Set()).add(b))
  for (const e of graph.edges) {
    join(e.from, e.to)
    join(e.to, e.from)
  }
  const distance = new Map([[focus, 0]])
  for (const [name, d] of distance) {
    if (d >= hops) continue
    for (const next of [...(beside.get(name) ?? [])].sort()) if (!distance.has(next)) distance.set(next, d + 1)
  }
  const within = [...distance].filter(([name]) => nodes.has(name))
  const shown = within.slice(0, most).map(([name, d]) => ({ ...nodes.get(name)!, distance: d }))
  const names = new Set(shown.map(n => n.name))
  return { nodes: shown, joins: joinsOf(graph.edges.filter(e => names.has(e.from) && names.has(e.to))), leftOut: within.length - shown.length }
}

const worst = ['suspended', 'planned', 'bound']

function joinsOf(edges: GraphEdge[]): Join[] {
  const out = new Map<string, Join>()
  for (const e of edges) {
    const key = `${e.from} ${e.to}`
    const join = out.get(key) ?? { from: e.from, to: e.to, references: [], state: 'bound' }
    join.references.push(e)
    if (worst.indexOf(e.state) < worst.indexOf(join.state)) join.state = e.state
    out.set(key, join)
  }
  return [...out.values()]
}

/** withWanted adds what a component would use if it ran: providers of what it requires and is not wired to. */
export function withWanted(graph: Graph, focus: string, requires: Reference[], services: Service[]): Graph {
  const wired = new Set(graph.edges.filter(e => e.from === focus).map(e => e.reference))
  const more = requires
    .filter(r => !wired.has(r.name))
    .flatMap(r =>
      [...new Set(services.filter(s => s.service === r.service && s.provider !== focus).map(s => s.provider))].map(to => ({
        from: focus, to, reference: r.name, service: r.service, cardinality: r.cardinality, state: 'planned',
      })),
    )
  return more.length === 0 ? graph : { ...graph, edges: [...graph.edges, ...more] }
}

/** uses and users say in words what the drawing shows of one component. */
export const uses = (graph: Graph, name: string) => graph.edges.filter(e => e.from === name)
export const usersOf = (graph: Graph, name: string) => graph.edges.filter(e => e.to === name)
