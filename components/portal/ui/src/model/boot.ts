// The last start as bars on a common axis. It must not know how they are drawn.
import type { Boot, BootStep } from '../api/kernel'

/** Bar is the start of one component; places are parts of a hundred of the whole. */
export interface Bar extends BootStep {
  /** Where waiting, and then starting, begins, and how long each is. */
  waitFrom: number
  waitWide: number
  from: number
  wide: number
  critical: boolean
}

/** waterfall places the starts, first to last; undefined if nothing has started. */
export function waterfall(boot: Boot): { bars: Bar[]; totalMs: number; marks: number[] } | undefined {
  const steps = boot.components ?? []
  const totalMs = Math.max(boot.totalMs, ...steps.map(s => s.activeAtMs))
  if (steps.length === 0 || totalMs <= 0) return undefined
  const part = (ms: number) => (100 * Math.max(0, ms)) / totalMs
  const critical = new Set(boot.critical ?? [])
  const bars = steps
    .map(s => ({
      ...s,
      waitFrom: part(s.startedAtMs - s.waitedMs),
      waitWide: part(Math.min(s.waitedMs, s.startedAtMs)),
      from: part(s.startedAtMs),
      wide: part(s.activeAtMs - s.startedAtMs),
      critical: critical.has(s.name),
    }))
    .sort((a, b) => a.startedAtMs - b.startedAtMs || a.activeAtMs - b.activeAtMs || a.name.localeCompare(b.name))
  return { bars, totalMs, marks: marks(totalMs) }
}

/** marks are round times on the axis: at most six, the first is 0. */
export function marks(totalMs: number): number[] {
  const power = 10 ** Math.floor(Math.log10(Math.max(totalMs, 1)))
  const step = [0.1, 0.2, 0.5, 1, 2, 5].map(f => f * power).find(s => totalMs / s <= 5) ?? power
  const out: number[] = []
  for (let at = 0; at <= totalMs; at += step) out.push(Math.round(at))
  return [...new Set(out)]
}
