import { Badge } from '@mantine/core'
import { type Tone, toneOf, toneOfHealth } from '../model/runtime'
import { Icon, type IconName } from './Icon'

// Shape, text and colour say the same.
export const toneIcons: Record<Tone, IconName> = { good: 'check', busy: 'dots', off: 'pause', bad: 'cross' }

function Look({ tone, label }: { tone: Tone; label: string }) {
  return (
    <Badge className={`tone tone-${tone}`} leftSection={<Icon name={toneIcons[tone]} size={11} />}>
      {label}
    </Badge>
  )
}

export function State({ state }: { state: string }) {
  return <Look tone={toneOf(state)} label={state} />
}

export function Health({ health }: { health: string }) {
  return health ? <Look tone={toneOfHealth(health)} label={health.replaceAll('_', ' ')} /> : null
}
