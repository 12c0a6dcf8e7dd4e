import { useComputedColorScheme } from '@mantine/core'
import { useReducedMotion } from '@mantine/hooks'
import { BarChart as Bars } from 'echarts/charts'
import { AriaComponent, GridComponent, LegendComponent, TooltipComponent } from 'echarts/components'
import { type EChartsType, init, use } from 'echarts/core'
import { LabelLayout } from 'echarts/features'
import { CanvasRenderer } from 'echarts/renderers'
import { useEffect, useRef } from 'react'
import { number } from '../model/format'
import type { Bar } from '../model/rows'
import { chartColors } from '../theme'
import { useSize } from './useSize'

use([Bars, GridComponent, TooltipComponent, LegendComponent, AriaComponent, LabelLayout, CanvasRenderer])

interface Props {
  title: string
  bars: Bar[]
  names: string[]
  unit: string
  decimals: number
}

export default function BarChart({ title, bars, names, unit, decimals }: Props) {
  const box = useRef<HTMLDivElement>(null)
  const chart = useRef<EChartsType>(undefined)
  const size = useSize(box)
  const scheme = useComputedColorScheme('light')
  const still = useReducedMotion()

  useEffect(() => {
    if (!box.current || !size) return
    chart.current ??= init(box.current, undefined, size)
    chart.current.resize(size)
  }, [size])
  useEffect(
    () => () => {
      chart.current?.dispose()
      chart.current = undefined
    },
    [],
  )

  useEffect(() => {
    const colors = chartColors[scheme]
    const show = (value: number) => `${number(value, decimals)}${unit ? ` ${unit}` : ''}`
    chart.current?.setOption(
      {
        animation: !still,
        animationDuration: 400,
        animationDurationUpdate: 400,
        color: colors.series,
        textStyle: { fontFamily: 'system-ui, sans-serif', color: colors.text },
        grid: { left: 8, right: 12, top: names.length > 1 ? 36 : 18, bottom: 4, containLabel: true },
        legend: { show: names.length > 1, top: 0, left: 0, textStyle: { color: colors.text } },
        // Rich text is drawn on the canvas: HTML would need style attributes, which the policy refuses.
        tooltip: { trigger: 'axis', renderMode: 'richText', axisPointer: { type: 'shadow' }, valueFormatter: (v: unknown) => show(Number(v)) },
        xAxis: {
          type: 'category',
          data: bars.map(b => b.name),
          axisLabel: { color: colors.text, interval: 0, hideOverlap: true },
          axisLine: { lineStyle: { color: colors.grid } },
          axisTick: { show: false },
        },
        yAxis: { type: 'value', axisLabel: { color: colors.text, formatter: (v: number) => number(v) }, splitLine: { lineStyle: { color: colors.grid } } },
        series: names.map((name, i) => ({
          // The same id at each reading: bars grow from where they were.
          id: name,
          name,
          type: 'bar',
          data: bars.map(b => b.values[i]),
          barMaxWidth: 56,
          itemStyle: { borderRadius: [4, 4, 0, 0] },
          label: { show: names.length === 1 && bars.length <= 16, position: 'top', color: colors.text, formatter: (p: { value: number }) => number(p.value, decimals) },
          labelLayout: { hideOverlap: true },
        })),
      },
      { replaceMerge: ['series'] },
    )
  }, [bars, names, unit, decimals, scheme, still, size])

  const summary = bars.map(b => `${b.name}: ${b.values.map(v => (v === null ? '–' : number(v, decimals))).join(', ')}`).join('; ')
  return <div ref={box} className="chart" role="img" aria-label={`${title}. ${summary} ${unit}`} data-testid="bar-chart" data-points={bars.length} data-summary={summary} />
}
