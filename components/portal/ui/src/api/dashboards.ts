// Dashboards and the rows behind their gadgets.
import { queryOptions } from '@tanstack/react-query'
import { type Row, rowsOfQuery, rowsOfRecords } from '../model/rows'
import { post, request } from './http'

export interface Summary {
  id: string
  title: string
  description: string
}

export interface Chart {
  type: 'number' | 'bar' | 'line' | 'table'
  x?: string
  y?: string[]
  unit?: string
  decimals?: number
  sort?: 'name' | 'value'
}

export interface Data {
  countOf?: string
  table?: string
  columns?: string[]
  limit?: number
  sql?: string
}

export interface Gadget {
  id: string
  title: string
  description?: string
  x: number
  y: number
  width: number
  height: number
  refreshSeconds?: number
  chart: Chart
  data: Data
}

export interface Page {
  id: string
  title: string
  gadgets: Gadget[] | null
}

export interface Dashboard {
  id: string
  title: string
  description?: string
  refreshSeconds?: number
  landing?: string
  pages: Page[]
}

/** Read is what a gadget draws: rows, or a count. */
export interface Read {
  rows: Row[]
  count?: number
}

const apis = '/portal/apis/dashboards'
const usualRefresh = 5
const maxRows = 5000

export const dashboardsQuery = queryOptions({
  queryKey: ['dashboards'],
  queryFn: ({ signal }) => request<Summary[]>(apis, { signal }),
})

export const dashboardQuery = (id: string) =>
  queryOptions({
    queryKey: ['dashboard', id],
    queryFn: ({ signal }) => request<Dashboard>(`${apis}/${encodeURIComponent(id)}`, { signal }),
  })

/** gadgetQuery reads a gadget's data again and again, but not while nobody looks at the tab. */
export const gadgetQuery = (dashboard: Dashboard, gadget: Gadget) =>
  queryOptions({
    queryKey: ['gadget', dashboard.id, gadget.id, gadget.data],
    queryFn: ({ signal }) => read(gadget.data, signal),
    refetchInterval: (gadget.refreshSeconds || dashboard.refreshSeconds || usualRefresh) * 1000,
    retry: false,
  })

async function read(data: Data, signal: AbortSignal): Promise<Read> {
  if (data.countOf) {
    const count = await request<number>(`/analytics/tables/${encodeURIComponent(data.countOf)}/recordcount`, { signal })
    return { rows: [], count }
  }
  if (data.table) {
    const table = encodeURIComponent(data.table)
    const columns = data.columns?.length ? `?columns=${data.columns.map(encodeURIComponent).join(',')}` : ''
    // From the least to the greatest time: all.
    const all = '-9223372036854775808/9223372036854775807/0'
    const records = await request<unknown>(`/analytics/tables/${table}/${all}/${data.limit || maxRows}${columns}`, { signal })
    return { rows: rowsOfRecords(records) }
  }
  return { rows: rowsOfQuery(await post<unknown>('/engine/query', { sql: data.sql ?? '', maxRows }, signal)) }
}
