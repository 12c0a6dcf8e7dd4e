import '@xyflow/react/dist/style.css'
import { Text, useComputedColorScheme } from '@mantine/core'
import { Link } from '@tanstack/react-router'
import { Controls, type Edge, Handle, MarkerType, type Node, type NodeProps, Position, ReactFlow } from '@xyflow/react'
import { useMemo, useRef } from 'react'
import { useSize } from '../../charts/useSize'
import type { Near } from '../../model/graph'
import { toneOf, toneOfHealth } from '../../model/runtime'
import { Icon } from '../../parts/Icon'
import { toneIcons } from '../../parts/State'
import { text } from '../../text'
import { layout, type Measure } from './layout'

const t = text.focus
// Below this many pixels of width boxes are small and lines carry no names.
const narrow = 560
const usual: Measure = { wide: 186, high: 60, gap: 110 }
const small: Measure = { wide: 148, high: 50, gap: 40 }

type Box = Node<{ name: string; state: string; health: string; focus: boolean; down: boolean; small: boolean; link: boolean; hops: number }, 'box'>

const types = { box: BoxNode }

/** Graph draws a component and what is near. Each box is a link; Wiring says the same in words. */
export default function Graph({ around, focus, hops }: { around: Near; focus: string; hops: number }) {
  const frame = useRef<HTMLDivElement>(null)
  const width = useSize(frame)?.width ?? 0
  const scheme = useComputedColorScheme('light')
  const size = width < narrow ? small : usual
  const shape = `${width} ${around.nodes.map(n => n.name).join()} ${around.joins.map(j => `${j.from}>${j.to}`).join()}`
  // States change often, places only with who is there.
  const placed = useMemo(() => layout(around, size, width), [shape])
  const nodes = useMemo<Box[]>(
    () =>
      around.nodes
        .map(n => ({
          id: n.name,
          type: 'box' as const,
          position: placed.places.get(n.name) ?? { x: 0, y: 0 },
          width: size.wide,
          height: size.high,
          data: { name: n.name, state: n.state, health: n.health, focus: n.name === focus, down: placed.down, small: size === small, link: n.name !== 'kernel', hops },
        }))
        // The keyboard goes as the eye does.
        .sort((a, b) => a.position.x - b.position.x || a.position.y - b.position.y),
    [around, placed, focus, size, hops],
  )
  const edges = useMemo<Edge[]>(
    () =>
      around.joins.map(j => ({
        id: `${j.from} ${j.to}`,
        source: j.from,
        target: j.to,
        className: `edge-${j.state}`,
        label: size === usual && (j.from === focus || j.to === focus) ? [...new Set(j.references.map(r => r.reference))].join(', ') : undefined,
        ariaLabel: `${j.from} → ${j.to}: ${j.references.map(r => r.reference).join(', ')} (${j.state})`,
        markerEnd: { type: MarkerType.ArrowClosed, color: 'var(--edge)' },
      })),
    [around, focus, size],
  )
  const height = Math.min(Math.max(240, placed.height + 60), 560)
  return (
    <div ref={frame} className="graph" data-testid="graph" data-nodes={around.nodes.length} data-edges={around.joins.length}>
      <div style={{ height }}>
        {width > 0 && (
          <ReactFlow
            key={shape}
            aria-label={t.graphOf(focus)}
            colorMode={scheme}
            nodes={nodes}
            edges={edges}
            nodeTypes={types}
            fitView
            fitViewOptions={{ padding: { top: '12px', x: '12px', bottom: '48px' }, maxZoom: 1 }}
            minZoom={0.2}
            nodesDraggable={false}
            nodesConnectable={false}
            nodesFocusable={false}
            edgesFocusable={false}
            elementsSelectable={false}
            zoomOnScroll={false}
            zoomOnDoubleClick={false}
            preventScrolling={false}
            proOptions={{ hideAttribution: true }}
          >
            <Controls showInteractive={false} orientation="horizontal" />
          </ReactFlow>
        )}
      </div>
      {[...new Set(around.joins.map(j => j.state))]
        .filter(state => state !== 'bound')
        .map(state => (
          <Text key={state} size="xs" c="dimmed">
            <span aria-hidden="true" className={`swatch-line edge-${state}`} /> {t.edges[state] ?? state}
          </Text>
        ))}
    </div>
  )
}

function BoxNode({ data }: NodeProps<Box>) {
  const tone = toneOf(data.state)
  const health = toneOfHealth(data.health)
  const body = (
    <>
      <span className="box-name">{data.name}</span>
      <span className="box-state">
        <Icon name={toneIcons[tone]} size={11} />
        {data.state}
        {(health === 'bad' || health === 'busy') && ` · ${data.health.replaceAll('_', ' ')}`}
      </span>
    </>
  )
  const className = `box tone-${health === 'bad' || (health === 'busy' && tone === 'good') ? health : tone}${data.focus ? ' box-focus' : ''}${data.small ? ' box-small' : ''}`
  return (
    <>
      <Handle type="target" position={data.down ? Position.Top : Position.Left} isConnectable={false} />
      {data.link ? (
        <Link
          to="/components/$name"
          params={{ name: data.name }}
          search={{ hops: data.hops === 2 ? '2' : undefined }}
          className={className}
          // The link to where one is says so by itself.
          activeOptions={{ includeSearch: false }}
          data-testid={`node-${data.name}`}
          data-state={data.state}
        >
          {body}
        </Link>
      ) : (
        <div className={className}>{body}</div>
      )}
      <Handle type="source" position={data.down ? Position.Bottom : Position.Right} isConnectable={false} />
    </>
  )
}
