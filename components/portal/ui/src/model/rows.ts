// Rows as charts read them, from the answers of the REST API and of the engine. It must not know charts.

export type Value = string | number | boolean | null
export type Row = Record<string, Value>

/** rowsOfRecords reads the REST API's record beans; `_timestamp` and `_id` become columns. */
export function rowsOfRecords(answer: unknown): Row[] {
  if (!Array.isArray(answer)) return []
  return answer.map(record => ({ ...record.values, _timestamp: record.timestamp, _id: record.id }))
}

/** rowsOfQuery reads the engine's columns and rows. */
export function rowsOfQuery(answer: unknown): Row[] {
  const { columns, rows } = (answer ?? {}) as { columns?: (string | { name: string })[]; rows?: unknown[] }
  if (!Array.isArray(rows)) return []
  const names = (columns ?? []).map(c => (typeof c === 'string' ? c : c.name))
  return rows.map(row => (Array.isArray(row) ? Object.fromEntries(names.map((name, i) => [name, (row[i] ?? null) as Value])) : (row as Row)))
}

/** numberOf reads a value as a number; what is none is NaN. */
export function numberOf(value: Value | undefined): number {
  if (value === null || value === undefined || value === '' || typeof value === 'boolean') return Number.NaN
  return Number(value)
}

export interface Bar {
  name: string
  values: (number | null)[]
}

/** bars makes one bar group per row, in the order asked for. Rows without a category or any number are left out. */
export function bars(rows: Row[], x: string, y: string[], sort: 'name' | 'value' = 'name'): Bar[] {
  const out = rows
    .filter(row => row[x] !== null && row[x] !== undefined)
    .map(row => ({ name: String(row[x]), values: y.map(column => finite(numberOf(row[column]))) }))
    .filter(bar => bar.values.some(v => v !== null))
  const byName = (a: Bar, b: Bar) => a.name.localeCompare(b.name)
  if (sort === 'name') return out.sort(byName)
  return out.sort((a, b) => (b.values[0] ?? -Infinity) - (a.values[0] ?? -Infinity) || byName(a, b))
}

/** Columns of a line chart: times in seconds, ascending and each once, then the values of each series. */
export type Series = [number[], ...(number | null)[][]]

/** series sorts rows by time and drops those without one; of two rows at one time the later row counts. */
export function series(rows: Row[], x: string, y: string[]): Series {
  const byTime = new Map<number, Row>()
  for (const row of rows) {
    const time = numberOf(row[x])
    if (Number.isFinite(time)) byTime.set(time / 1000, row)
  }
  const times = [...byTime.keys()].sort((a, b) => a - b)
  return [times, ...y.map(column => times.map(time => finite(numberOf(byTime.get(time)?.[column]))))]
}

/** single is the value a number shows: the count, or the column of the first row in the chart's order. */
export function single(rows: Row[], count: number | undefined, chart: { x?: string; y?: string[]; sort?: 'name' | 'value' }): { value: number; label?: string } | undefined {
  if (count !== undefined) return { value: count }
  const column = chart.y?.[0]
  if (!column) return undefined
  if (chart.x) {
    const first = bars(rows, chart.x, [column], chart.sort)[0]
    return first?.values[0] === null || first === undefined ? undefined : { value: first.values[0] as number, label: first.name }
  }
  const value = numberOf(rows[0]?.[column])
  return Number.isFinite(value) ? { value } : undefined
}

function finite(n: number): number | null {
  return Number.isFinite(n) ? n : null
}
