import { Badge, type MantineColor } from '@mantine/core'
import { type Tone, toneOf, toneOfHealth } from '../model/runtime'
import { Icon, type IconName } from './Icon'

// Shape, text and colour say the same.
const looks: Record<Tone, { color: MantineColor; icon: IconName }> = {
  good: { color: 'green', icon: 'check' },
  busy: { color: 'yellow', icon: 'dots' },
  off: { color: 'gray', icon: 'pause' },
  bad: { color: 'red', icon: 'cross' },
}

function Look({ tone, label }: { tone: Tone; label: string }) {
  const { color, icon } = looks[tone]
  return (
    <Badge
      variant="light"
      color={color}
      leftSection={<Icon name={icon} size={11} />}
      styles={{ root: { fontWeight: 650, color: `light-dark(var(--mantine-color-${color}-9), var(--mantine-color-${color}-3))` } }}
    >
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
