import { Group, Text } from '@mantine/core'
import type { Live } from '../api/kernel'
import { text } from '../text'

const t = text.components
const words = { live: t.live, connecting: t.connecting, lost: t.lost }
const color = { live: 'var(--mantine-color-green-6)', connecting: 'var(--mantine-color-yellow-6)', lost: 'var(--mantine-color-red-6)' }

/** LiveMark says whether what is shown follows the server. */
export function LiveMark({ live }: { live: Live }) {
  return (
    <Group gap={6} role="status" data-testid="live" data-live={live}>
      <span aria-hidden="true" style={{ width: 9, height: 9, borderRadius: '50%', background: color[live] }} />
      <Text size="sm" c="dimmed">
        {words[live]}
      </Text>
    </Group>
  )
}
