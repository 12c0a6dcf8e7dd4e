// Places for the components of the graph. It must not know what they are.
import dagre from '@dagrejs/dagre'
import type { Near } from '../../model/graph'

/** Size of the boxes and of the gaps between ranks. */
export interface Measure {
  wide: number
  high: number
  gap: number
}

export interface Layout {
  places: Map<string, { x: number; y: number }>
  down: boolean
  width: number
  height: number
}

/** layout ranks users before providers: left to right, or downwards where that fits better into the width. */
export function layout(around: Near, size: Measure, width: number): Layout {
  const right = place(around, size, false)
  if (right.width <= width) return right
  const down = place(around, size, true)
  return down.width < right.width ? down : right
}

function place(around: Near, { wide, high, gap }: Measure, down: boolean): Layout {
  const g = new dagre.graphlib.Graph()
  g.setGraph({ rankdir: down ? 'TB' : 'LR', nodesep: 22, ranksep: down ? 54 : gap, marginx: 4, marginy: 4 })
  g.setDefaultEdgeLabel(() => ({}))
  for (const n of around.nodes) g.setNode(n.name, { width: wide, height: high })
  for (const j of around.joins) if (j.from !== j.to) g.setEdge(j.from, j.to)
  dagre.layout(g)
  const places = new Map<string, { x: number; y: number }>()
  for (const n of around.nodes) {
    const { x, y } = g.node(n.name)
    places.set(n.name, { x: (x ?? 0) - wide / 2, y: (y ?? 0) - high / 2 })
  }
  const { width, height } = g.graph()
  return { places, down, width: width ?? wide, height: height ?? high }
}
