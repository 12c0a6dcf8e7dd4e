// Numbers and times as people read them.

const cache = new Map<number, Intl.NumberFormat>()

export function number(value: number, decimals = 0): string {
  let format = cache.get(decimals)
  if (!format) {
    format = new Intl.NumberFormat('en', { minimumFractionDigits: decimals, maximumFractionDigits: decimals })
    cache.set(decimals, format)
  }
  return format.format(value)
}

/** since says how long ago something was, in the largest unit that fits. */
export function since(time: string, now: number): string {
  const seconds = Math.max(0, Math.round((now - Date.parse(time)) / 1000))
  if (Number.isNaN(seconds)) return ''
  for (const [unit, size] of [['d', 86_400], ['h', 3600], ['min', 60]] as const) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`
  }
  return `${seconds} s`
}

const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' })
const second = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' })
const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' })

/** ticks writes the times on an axis, in seconds since 1970, as exactly as their distance needs. */
export function ticks(times: number[]): string[] {
  const step = (times[1] ?? 0) - (times[0] ?? 0)
  const format = step >= 86_400 ? day : step >= 60 ? clock : second
  return times.map(time => format.format(time * 1000))
}

export const timeOfDay = (seconds: number) => second.format(seconds * 1000)

/** shownValue writes a value of the configuration. */
export function shownValue(value: unknown): string {
  return typeof value === 'string' ? value || '""' : JSON.stringify(value) ?? ''
}
