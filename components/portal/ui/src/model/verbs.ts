// What can be asked of a component in its state. It must not know how it is asked.
import type { Verb } from '../api/kernel'

/** verbsOf lists what makes sense, the usual one first; the server has the last word. */
export function verbsOf(state: string, installed: boolean): Verb[] {
  if (!installed || state === 'UNINSTALLED') return []
  switch (state) {
    case 'DISABLED':
      return ['enable']
    case 'INSTALLED':
    case 'RESOLVED':
    case 'FAILED':
      return ['start', 'disable']
    case 'DRAINING':
    case 'STOPPING':
      return []
    default:
      return ['restart', 'stop', 'disable']
  }
}

/** blind says that the page itself needs the component, so that it goes blind without it. */
export const blind = (verb: Verb, name: string) => (verb === 'stop' || verb === 'disable') && (name === 'Portal' || name === 'Identity')
