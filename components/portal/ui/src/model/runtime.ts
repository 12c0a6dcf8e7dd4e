// The list of components: what is installed, what the plan says of it, and why something doesn't run. It must not know how it
// is drawn.
import type { Cause } from '../api/http'
import type { Component, Plan, Planned, Wire } from '../api/kernel'

/** Tone groups states by what they mean to an operator. */
export type Tone = 'good' | 'busy' | 'off' | 'bad'

const tones: Record<string, Tone> = {
  ACTIVE: 'good',
  INSTALLED: 'busy',
  RESOLVED: 'busy',
  WAITING: 'busy',
  STARTING: 'busy',
  DRAINING: 'busy',
  STOPPING: 'busy',
  BACKOFF: 'bad',
  FAILED: 'bad',
  DISABLED: 'off',
  UNINSTALLED: 'off',
  'NOT INSTALLED': 'off',
}

export function toneOf(state: string): Tone {
  return tones[state] ?? 'busy'
}

const healths: Record<string, Tone> = { OK: 'good', WARN: 'busy', TEMPORARILY_UNAVAILABLE: 'bad', CRITICAL: 'bad' }

export function toneOfHealth(health: string): Tone {
  return healths[health] ?? 'off'
}

/** Line is one component of the list. */
export interface Line {
  name: string
  version: string
  installed: boolean
  state: string
  health: string
  pid: number
  restarts: number
  /** Why it is not active: the rule that keeps it out and the causes, with their chains. Empty if it is active. */
  rule: string
  causes: Cause[]
  wires: Wire[]
  order: number
}

/** lines joins the state of components with the plan, in the order of starting; what does not start comes last, by name. */
export function lines(components: Component[], plan: Plan | undefined): Line[] {
  const planned = new Map((plan?.components ?? []).map(p => [p.name, p]))
  const out = components.map(c => {
    const p = planned.get(c.name)
    planned.delete(c.name)
    return {
      name: c.name,
      version: c.version,
      installed: true,
      state: c.state,
      health: c.health,
      pid: c.pid,
      restarts: c.restarts,
      rule: c.disabledBy || (p && !p.enabled ? p.rule : ''),
      causes: c.cause ? [c.cause] : c.state === 'ACTIVE' ? [] : (p?.causes ?? []),
      wires: p?.wires ?? [],
      order: p?.runs ? p.order : Number.POSITIVE_INFINITY,
    }
  })
  for (const p of planned.values()) out.push(absent(p))
  return out.sort((a, b) => compare(a.order, b.order) || Number(b.installed) - Number(a.installed) || a.name.localeCompare(b.name))
}

function absent(p: Planned): Line {
  return {
    name: p.name,
    version: '',
    installed: p.installed,
    state: p.installed ? 'INSTALLED' : 'NOT INSTALLED',
    health: '',
    pid: 0,
    restarts: 0,
    rule: p.enabled ? '' : p.rule,
    causes: p.causes ?? [],
    wires: p.wires ?? [],
    order: Number.POSITIVE_INFINITY,
  }
}

function compare(a: number, b: number): number {
  return a === b ? 0 : a - b
}

/** users are the components with a reference to a provider, in the plan's order. */
export function users(all: Line[], provider: string): string[] {
  return all.filter(l => l.name !== provider && l.wires.some(w => w.provider === provider)).map(l => l.name)
}

/** counts says how many lines there are of each tone, with the states' names. */
export function counts(all: Line[]): { state: string; tone: Tone; count: number }[] {
  const byState = new Map<string, number>()
  for (const line of all) byState.set(line.state, (byState.get(line.state) ?? 0) + 1)
  const rank: Tone[] = ['good', 'busy', 'bad', 'off']
  return [...byState]
    .map(([state, count]) => ({ state, tone: toneOf(state), count }))
    .sort((a, b) => rank.indexOf(a.tone) - rank.indexOf(b.tone) || a.state.localeCompare(b.state))
}

export type Filter = 'all' | 'running' | 'not-running'

/** matches says whether a line is shown for a filter and a text. */
export function matches(line: Line, filter: Filter, text: string): boolean {
  if (filter === 'running' && line.state !== 'ACTIVE') return false
  if (filter === 'not-running' && line.state === 'ACTIVE') return false
  return line.name.toLowerCase().includes(text.trim().toLowerCase())
}

/** flatten lists a cause and its chain, the leaf last. */
export function flatten(cause: Cause): Cause[] {
  return [cause, ...cause.chain.flatMap(flatten)]
}

/** headline is the one sentence of why a component does not run. */
export function headline(line: Line): string {
  const first = line.causes[0]
  if (first) return flatten(first).at(-1)?.text ?? first.text
  if (line.rule) return `Disabled by ${line.rule}`
  return ''
}
