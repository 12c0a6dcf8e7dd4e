import { Badge, Group, Stack, Table, Text } from '@mantine/core'
import type { Boot } from '../api/kernel'
import { waterfall } from '../model/boot'
import { number } from '../model/format'
import { Command } from '../parts/Command'
import { ComponentLink } from '../parts/ComponentLink'
import { Icon } from '../parts/Icon'
import { Wide } from '../parts/Wide'
import { text } from '../text'

const t = text.boot

/** Waterfall draws what `carbonado blame` prints; the numbers stand beside each bar. */
export function Waterfall({ boot, focus }: { boot: Boot; focus?: string }) {
  const fall = waterfall(boot)
  if (!fall) return <Text size="sm">{t.none}</Text>
  return (
    <Stack gap="sm">
      <Text size="sm">{t.total(number(boot.totalMs), number(boot.kernelMs))}</Text>
      <Group gap="lg">
        <Group gap={6}>
          <span aria-hidden="true" className="swatch bar-wait" />
          <Text size="xs">{t.legendWait}</Text>
        </Group>
        <Group gap={6}>
          <span aria-hidden="true" className="swatch bar-start" />
          <Text size="xs">{t.legendStart}</Text>
        </Group>
        <Group gap={6}>
          <span aria-hidden="true" className="swatch bar-start bar-critical" />
          <Text size="xs">{t.critical}</Text>
        </Group>
      </Group>
      <Wide label={t.title} width={760} head={[text.components.name, t.bar, t.waited, t.took, t.after]} id="waterfall">
        {fall.bars.map(b => (
          <Table.Tr key={b.name} data-testid={`boot-${b.name}`} data-critical={b.critical} bg={b.name === focus ? 'var(--mantine-color-default-hover)' : undefined}>
            <Table.Td>
              <Group gap={6} wrap="nowrap">
                <ComponentLink name={b.name} fw={b.name === focus ? 700 : 500} c="inherit" />
                {b.critical && (
                  <Badge className="tone tone-busy" leftSection={<Icon name="warning" size={11} />}>
                    {t.critical}
                  </Badge>
                )}
              </Group>
            </Table.Td>
            <Table.Td w="45%">
              <div className="bars" aria-hidden="true">
                <span className="bar bar-wait" style={{ left: `${b.waitFrom}%`, width: `${b.waitWide}%` }} />
                <span className={b.critical ? 'bar bar-start bar-critical' : 'bar bar-start'} style={{ left: `${b.from}%`, width: `max(3px, ${b.wide}%)` }} />
              </div>
            </Table.Td>
            <Table.Td className="mono">{`${number(b.waitedMs)} ms`}</Table.Td>
            <Table.Td className="mono">{`${number(b.startingMs)} ms`}</Table.Td>
            <Table.Td>{b.after}</Table.Td>
          </Table.Tr>
        ))}
        <Table.Tr aria-hidden="true">
          <Table.Td />
          <Table.Td>
            <div className="bars marks">
              {fall.marks.map(m => (
                <span key={m} style={{ left: `${(100 * m) / fall.totalMs}%` }}>
                  {number(m)}
                </span>
              ))}
            </div>
          </Table.Td>
          <Table.Td />
          <Table.Td />
          <Table.Td />
        </Table.Tr>
      </Wide>
      {(boot.critical?.length ?? 0) > 0 && (
        <Text size="sm" data-testid="critical">
          {`${t.path}: `}
          <b>{boot.critical?.join(' → ')}</b>
        </Text>
      )}
      <Command line="carbonado blame" />
    </Stack>
  )
}
