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
