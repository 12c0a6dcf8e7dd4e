// What an event says of components. It must not know where events come from.
import type { Happening } from '../api/kernel'

/** happening reads a message; undefined if it tells nothing about the state or health of a component. */
export function happening(data: unknown): Happening | undefined {
  if (typeof data !== 'string') return undefined
  let event: Partial<Happening> | null
  try {
    event = JSON.parse(data)
  } catch {
    return undefined
  }
  // A successor that starts beside the serving process is no news of the one that serves.
  const beside = (event as { transition?: { beside?: boolean } } | null)?.transition?.beside
  if (!event?.component || beside || (!event.state && !event.health)) return undefined
  return { kind: event.kind ?? '', component: event.component, state: event.state, health: event.health }
}

/** apply gives a list in which the event's component has its new state; the list itself if nothing differs. */
export function apply<T extends { name: string; state: string; health: string }>(list: T[], event: Happening): T[] {
  let differs = false
  const out = list.map(one => {
    if (one.name !== event.component) return one
    const next = { ...one, state: event.state || one.state, health: event.health || one.health }
    if (next.state === one.state && next.health === one.health) return one
    differs = true
    return next
  })
  return differs ? out : list
}
