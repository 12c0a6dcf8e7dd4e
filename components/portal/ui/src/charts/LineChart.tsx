import { useComputedColorScheme } from '@mantine/core'
import { useEffect, useRef } from 'react'
import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { number, ticks, timeOfDay } from '../model/format'
import type { Series } from '../model/rows'
import { chartColors } from '../theme'
import { useSize } from './useSize'

// Height of uPlot's legend below the plot; page.css has the same number.
const legend = 30

interface Props {
  title: string
  series: Series
  names: string[]
  unit: string
  decimals: number
}

export default function LineChart({ title, series, names, unit, decimals }: Props) {
  const box = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot>(undefined)
  const size = useSize(box)
  const scheme = useComputedColorScheme('light')
  const key = names.join('\n')

  useEffect(() => {
    if (!box.current) return
    const colors = chartColors[scheme]
    const axis: uPlot.Axis = { stroke: colors.text, grid: { stroke: colors.grid, width: 1 }, ticks: { stroke: colors.grid, width: 1 }, font: '12px system-ui, sans-serif' }
    const made = new uPlot(
      {
        width: 300,
        height: 200,
        padding: [10, 36, 0, 0],
        cursor: { drag: { x: true, y: false } },
        scales: { x: { time: true } },
        axes: [{ ...axis, space: 90, values: (_, splits) => ticks(splits) }, { ...axis, size: 64, values: (_, values) => values.map(v => number(v)) }],
        series: [
          { label: 'Time', value: (_, v) => (v === null ? '–' : timeOfDay(v)) },
          ...key.split('\n').map((label, i) => ({
            label,
            stroke: colors.series[i % colors.series.length],
            width: 2,
            dash: i > 0 ? [6, 4] : undefined,
            points: { show: false },
            value: (_: uPlot, v: number | null) => (v === null ? '–' : `${number(v, decimals)} ${unit}`),
          })),
        ],
      },
      undefined,
      box.current,
    )
    plot.current = made
    return () => {
      made.destroy()
      plot.current = undefined
    }
  }, [key, unit, decimals, scheme])

  useEffect(() => {
    if (!size || !plot.current) return
    plot.current.setSize({ width: size.width, height: Math.max(80, size.height - legend) })
  }, [size, key, unit, decimals, scheme])

  useEffect(() => {
    plot.current?.setData(series)
  }, [series, key, unit, decimals, scheme])

  const [times] = series
  const last = names.map((name, i) => `${name} ${number(series[i + 1]?.at(-1) ?? 0, decimals)} ${unit}`).join(', ')
  const latest = times.at(-1)
  return (
    <div
      ref={box}
      className="chart"
      role="img"
      aria-label={`${title}. ${times.length} points, the last: ${last}`}
      data-testid="line-chart"
      data-points={times.length}
      data-summary={`${latest}: ${last}`}
    />
  )
}
