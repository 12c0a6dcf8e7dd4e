import { describe, expect, test } from 'vitest'
import type { Boot, Graph, GraphEdge, Reference } from '../api/kernel'
import { marks, waterfall } from './boot'
import { apply, happening } from './events'
import { shownValue } from './format'
import { near, uses, usersOf, withWanted } from './graph'
import { blind, verbsOf } from './verbs'

const edge = (from: string, to: string, more: Partial<GraphEdge> = {}): GraphEdge => ({ from, to, reference: 'r', service: 's', cardinality: '1..1', state: 'bound', ...more })
const graph = (edges: GraphEdge[], alone: string[] = []): Graph => ({
  nodes: [...new Set([...edges.flatMap(e => [e.from, e.to]), ...alone])].map(name => ({ name, state: 'ACTIVE', health: 'OK', cause: null })),
  edges,
})
const names = (list: { name: string }[]) => list.map(n => n.name).sort().join('')

describe('graph', () => {
  // A chain with a cycle at its end: a -> b -> c -> d <-> e
  const chain = graph([edge('a', 'b'), edge('b', 'c'), edge('c', 'd'), edge('d', 'e'), edge('e', 'd')])
  test('near goes along references in both directions, as far as is asked', () => {
    expect(names(near(chain, 'c', 1).nodes)).toBe('bcd')
    expect(names(near(chain, 'c', 2).nodes)).toBe('abcde')
    expect(near(chain, 'c', 2).nodes.find(n => n.name === 'e')?.distance).toBe(2)
    expect(near(chain, 'c', 1).joins.map(j => `${j.from}${j.to}`)).toEqual(['bc', 'cd'])
  })
  test('references between the same two are one join, with the worst state', () => {
    const two = graph([edge('a', 'b', { reference: 'x' }), edge('a', 'b', { reference: 'y', state: 'suspended' }), edge('a', 'b', { reference: 'z', state: 'planned' })])
    expect(near(two, 'a', 1).joins).toMatchObject([{ from: 'a', to: 'b', state: 'suspended', references: [{ reference: 'x' }, { reference: 'y' }, { reference: 'z' }] }])
  })
  test('more than can be read is left out, the nearest stay, and it is said', () => {
    const star = graph(Array.from({ length: 100 }, (_, i) => edge(`n${i}`, 'hub')))
    const some = near(star, 'hub', 1, 60)
    expect([some.nodes.length, some.leftOut, some.joins.length, some.nodes[0]?.name]).toEqual([60, 41, 59, 'hub'])
  })
  test('one that nothing is wired to stands alone; an unknown one is not there; edges to what is not listed are not drawn', () => {
    expect(names(near(graph([], ['a']), 'a', 2).nodes)).toBe('a')
    expect(near(chain, 'x', 2).nodes).toEqual([])
    const open = { ...chain, nodes: chain.nodes.filter(n => n.name !== 'd') }
    expect(near(open, 'c', 1).joins.map(j => j.to)).toEqual(['c'])
  })
  test('what a component would use is added where it is not wired, and only there', () => {
    const requires = [{ name: 'r', service: 's' }, { name: 'feed', service: 'f', cardinality: '0..1' }, { name: 'none', service: 'n' }] as Reference[]
    const services = [{ service: 'f', version: '1.0.0', provider: 'p' }, { service: 'f', version: '1.1.0', provider: 'p' }, { service: 's', version: '1.0.0', provider: 'p' }]
    const more = withWanted(graph([edge('a', 'b')], ['p']), 'a', requires, services)
    expect(uses(more, 'a')).toEqual([edge('a', 'b'), { from: 'a', to: 'p', reference: 'feed', service: 'f', cardinality: '0..1', state: 'planned' }])
    expect(usersOf(more, 'p').map(e => e.from)).toEqual(['a'])
    expect(withWanted(chain, 'a', [], services)).toBe(chain)
  })
})

describe('the last start', () => {
  const step = (name: string, waitedMs: number, startedAtMs: number, activeAtMs: number) => ({ name, waitedMs, startingMs: activeAtMs - startedAtMs, startedAtMs, activeAtMs, after: '', attempts: 1 })
  const boot: Boot = { since: '', kernelMs: 100, totalMs: 1000, components: [step('B', 300, 500, 1000), step('A', 0, 100, 500)], critical: ['A', 'B'] }
  test('bars lie on one axis, first to last', () => {
    const fall = waterfall(boot)
    expect(fall?.bars.map(b => [b.name, b.waitFrom, b.waitWide, b.from, b.wide, b.critical])).toEqual([['A', 10, 0, 10, 40, true], ['B', 20, 30, 50, 50, true]])
  })
  test('who became active after the total makes the axis longer; nothing started is no axis', () => {
    expect(waterfall({ ...boot, components: [step('A', 0, 0, 4000)], critical: null })?.totalMs).toBe(4000)
    expect(waterfall({ ...boot, components: [] })).toBeUndefined()
    expect(waterfall({ ...boot, components: null, totalMs: 0 })).toBeUndefined()
  })
  test.each([[1000, [0, 200, 400, 600, 800, 1000]], [2241, [0, 500, 1000, 1500, 2000]], [9, [0, 2, 4, 6, 8]], [1, [0, 1]], [70_000, [0, 20_000, 40_000, 60_000]]])('marks up to %d ms are round', (total, want) => expect(marks(total)).toEqual(want))
})

describe('events', () => {
  const list = [{ name: 'A', state: 'ACTIVE', health: 'OK' }, { name: 'B', state: 'ACTIVE', health: 'OK' }]
  test('a transition changes one component, health another', () => {
    expect(apply(list, { kind: 'transition', component: 'B', state: 'BACKOFF' })).toEqual([list[0], { name: 'B', state: 'BACKOFF', health: 'OK' }])
    expect(apply(list, { kind: 'health', component: 'A', health: 'WARN' })[0]).toEqual({ name: 'A', state: 'ACTIVE', health: 'WARN' })
  })
  test('news of nothing new leave the list itself', () => {
    expect(apply(list, { kind: 'transition', component: 'B', state: 'ACTIVE' })).toBe(list)
    expect(apply(list, { kind: 'transition', component: 'C', state: 'FAILED' })).toBe(list)
  })
  test('what says nothing of a component is passed over', () => {
    expect(happening('{"kind":"transition","component":"A","state":"BACKOFF"}')).toMatchObject({ component: 'A', state: 'BACKOFF' })
    for (const data of ['', 'no json', 'null', '{"kind":"status","component":"","state":"RUNNING"}', '{"kind":"service","component":"A","text":"x"}', '{"component":"A","state":"STARTING","transition":{"beside":true}}', 7]) {
      expect(happening(data)).toBeUndefined()
    }
  })
})

describe('what can be asked', () => {
  test.each([
    ['ACTIVE', 'restart stop disable'], ['BACKOFF', 'restart stop disable'], ['FAILED', 'start disable'], ['RESOLVED', 'start disable'], ['DISABLED', 'enable'], ['DRAINING', ''], ['UNINSTALLED', ''],
  ])('of a component that is %s: %s', (state, want) => expect(verbsOf(state, true).join(' ')).toBe(want))
  test('nothing of one that is not installed, and a warning before the page goes blind', () => {
    expect(verbsOf('NOT INSTALLED', false)).toEqual([])
    expect([blind('stop', 'Portal'), blind('disable', 'Identity'), blind('restart', 'Portal'), blind('stop', 'Indexing')]).toEqual([true, true, false, false])
  })
  test('values of the configuration', () => expect([true, 0, '', 'a', ['b'], null].map(shownValue)).toEqual(['true', '0', '""', 'a', '["b"]', 'null']))
})
