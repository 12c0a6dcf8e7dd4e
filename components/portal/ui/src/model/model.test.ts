import { describe, expect, test } from 'vitest'
import { causeOf } from '../api/http'
import type { Component, Planned } from '../api/kernel'
import { granted, localPath, type Me } from '../api/session'
import { number, since, ticks } from './format'
import { bars, rowsOfQuery, rowsOfRecords, series, single } from './rows'
import { counts, flatten, headline, lines, matches, toneOf, users } from './runtime'

const component = (name: string, more: Partial<Component> = {}): Component => ({
  name, version: '1.0.0', state: 'ACTIVE', health: 'OK', pid: 7, restarts: 0, disabledBy: '', cause: null, ...more,
})
const planned = (name: string, more: Partial<Planned> = {}): Planned => ({
  name, installed: true, enabled: true, runs: true, rule: '', order: 0, wires: [], causes: [], ...more,
})

describe('rows', () => {
  test('record beans become rows with time and id', () => {
    expect(rowsOfRecords([{ id: 'a', tableName: 'T', timestamp: 5, values: { city: 'Oslo' } }])).toEqual([{ city: 'Oslo', _timestamp: 5, _id: 'a' }])
    expect(rowsOfRecords({ status: 'failed' })).toEqual([])
  })
  test('engine answers: arrays by column name, null kept', () => {
    expect(rowsOfQuery({ columns: [{ name: 'a' }, { name: 'b' }], rows: [[1, null]] })).toEqual([{ a: 1, b: null }])
    expect(rowsOfQuery({ columns: ['a'], rows: [{ a: 2 }] })).toEqual([{ a: 2 }])
    expect(rowsOfQuery(undefined)).toEqual([])
  })
  test('bars: sorted, without rows that have nothing to draw', () => {
    const rows = [{ c: 'b', v: 1 }, { c: 'a', v: '3.5' }, { c: null, v: 9 }, { c: 'd', v: null }, { c: 'c', v: 'NaN' }]
    expect(bars(rows, 'c', ['v'])).toEqual([{ name: 'a', values: [3.5] }, { name: 'b', values: [1] }])
    expect(bars([{ c: 'a', v: 1 }, { c: 'b', v: 2 }], 'c', ['v'], 'value').map(b => b.name)).toEqual(['b', 'a'])
  })
  test('series: ascending times in seconds, each once, gaps as null', () => {
    const rows = [{ t: 3000, v: 3 }, { t: 1000, v: 1 }, { t: 1000, v: 2 }, { t: null, v: 9 }, { t: 2000, v: null }]
    expect(series(rows, 't', ['v'])).toEqual([[1, 2, 3], [2, null, 3]])
    expect(series([], 't', ['v'])).toEqual([[], []])
  })
  test('single: count, first row, or the first bar with its name', () => {
    expect(single([], 0, {})).toEqual({ value: 0 })
    expect(single([{ v: 4 }], undefined, { y: ['v'] })).toEqual({ value: 4 })
    expect(single([{ c: 'a', v: 4 }, { c: 'b', v: 5 }], undefined, { x: 'c', y: ['v'], sort: 'value' })).toEqual({ value: 5, label: 'b' })
    expect(single([], undefined, { x: 'c', y: ['v'] })).toBeUndefined()
    expect(single([], undefined, { y: ['v'] })).toBeUndefined()
  })
})

describe('runtime', () => {
  const leaf = { code: 'CBN-PLAN-002', text: 'DataService is disabled.', chain: [], fix: '' }
  const chain = { code: 'CBN-PLAN-001', text: 'Nobody provides RecordStore.', chain: [leaf], fix: 'Enable it.' }

  test('lines join state and plan: start order, then the rest by name, names not installed last', () => {
    const all = lines(
      [component('Portal'), component('Indexing', { state: 'DISABLED', disabledBy: 'profile receiver' }), component('DataService'), component('New', { state: 'WAITING' })],
      {
        components: [
          planned('Portal', { order: 2 }), planned('DataService', { order: 1 }), planned('Ml', { installed: false, enabled: false, runs: false, rule: 'profile receiver' }),
          planned('Indexing', { enabled: false, runs: false, rule: 'profile receiver' }), planned('Later', { runs: false, causes: [chain] }),
        ],
      },
    )
    expect(all.map(l => l.name)).toEqual(['DataService', 'Portal', 'Indexing', 'Later', 'New', 'Ml'])
    expect(all.find(l => l.name === 'Ml')?.state).toBe('NOT INSTALLED')
    expect(headline(all.find(l => l.name === 'Indexing')!)).toBe('Disabled by profile receiver')
    expect(headline(all.find(l => l.name === 'Later')!)).toBe('DataService is disabled.')
  })
  test('without a plan the list is there all the same', () => {
    expect(lines([component('B'), component('A')], undefined).map(l => l.name)).toEqual(['A', 'B'])
  })
  test('an active component has no causes from the plan, and keeps its own', () => {
    const [a, b] = lines([component('A'), component('B', { cause: leaf })], { components: [planned('A', { causes: [chain] }), planned('B')] })
    expect(a?.causes).toEqual([])
    expect(b?.causes).toEqual([leaf])
  })
  test('users of a provider', () => {
    const wire = { reference: 'store', service: 's', provider: 'DataService', version: '1.0.0', cardinality: '1..1' }
    const all = lines([component('DataService'), component('Sink'), component('Portal')], {
      components: [planned('DataService', { order: 1 }), planned('Sink', { order: 2, wires: [wire] }), planned('Portal', { order: 3, wires: null, causes: null })],
    })
    expect(users(all, 'DataService')).toEqual(['Sink'])
  })
  test('counts, tones, filter and chain', () => {
    const all = lines([component('A'), component('B', { state: 'FAILED' }), component('C')], undefined)
    expect(counts(all)).toEqual([{ state: 'ACTIVE', tone: 'good', count: 2 }, { state: 'FAILED', tone: 'bad', count: 1 }])
    expect(toneOf('SOMETHING NEW')).toBe('busy')
    expect(all.filter(l => matches(l, 'not-running', ' b ')).map(l => l.name)).toEqual(['B'])
    expect(all.filter(l => matches(l, 'running', '')).length).toBe(2)
    expect(flatten(chain).map(c => c.code)).toEqual(['CBN-PLAN-001', 'CBN-PLAN-002'])
  })
})

describe('session', () => {
  test.each([
    ['/dashboards/a?x=1', '/dashboards/a?x=1'], ['//evil.example', '/'], ['/\\evil.example', '/'], ['https://evil.example', '/'],
    ['javascript:alert(1)', '/'], ['/a\\..\\b', '/'], ['/a\nb', '/'], ['/login?to=/x', '/'], ['', '/'], [undefined, '/'],
  ])('after signing in, %j leads to %s', (to, want) => expect(localPath(to)).toBe(want))
  test('a permission covers those below it, by segments', () => {
    const me = { permissions: ['/permission/admin/manage'] } as Me
    expect(granted(me, '/permission/admin/manage/x')).toBe(true)
    expect(granted(me, '/permission/admin/managers')).toBe(false)
    expect(granted(undefined, '/permission')).toBe(false)
  })
})

describe('causes', () => {
  test('of bodies with a cause, a message, a problem, and nothing', () => {
    expect(causeOf(404, { status: 'failed', message: 'm', cause: { code: 'CBN-PRT-003', text: 't', fix: 'f' } })).toEqual({ code: 'CBN-PRT-003', text: 't', fix: 'f', chain: [] })
    expect(causeOf(500, { message: 'm' }).text).toBe('m')
    expect(causeOf(422, { title: 'x', detail: 'd' }).text).toBe('d')
    expect(causeOf(502, undefined).code).toBe('HTTP 502')
  })
})

describe('format', () => {
  test('numbers and times', () => {
    expect(number(1234567)).toBe('1,234,567')
    expect(number(1.25, 1)).toBe('1.3')
    expect(since('2026-01-01T00:00:00Z', Date.parse('2026-01-01T00:00:59Z'))).toBe('59 s')
    expect(since('2026-01-01T00:00:00Z', Date.parse('2026-01-03T05:00:00Z'))).toBe('2 d')
    expect(since('never', 0)).toBe('')
    const at = new Date(2026, 0, 2, 13, 5, 0).getTime() / 1000
    expect(ticks([at, at + 30])).toEqual(['13:05:00', '13:05:30'])
    expect(ticks([at, at + 60])).toEqual(['13:05', '13:06'])
    expect(ticks([at, at + 86_400])).toEqual(['2 Jan', '3 Jan'])
    expect(ticks([])).toEqual([])
  })
})
