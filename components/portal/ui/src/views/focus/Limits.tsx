import { Alert, Badge, Stack, Table, Text } from '@mantine/core'
import type { Detail, Measure } from '../../api/kernel'
import { Command } from '../../parts/Command'
import { Icon } from '../../parts/Icon'
import { Section } from '../../parts/Section'
import { Wide } from '../../parts/Wide'
import { text } from '../../text'

const t = text.focus

/** Limits says what bounds and confines the process, and what of it this node cannot enforce. */
export function Limits({ name, detail }: { name: string; detail?: Detail }) {
  const limits = detail?.limits ?? []
  const confinement = detail?.confinement ?? []
  const open = [...limits, ...confinement].filter(m => !m.enforced).length
  return (
    <Stack>
      {open > 0 && (
        <Alert color="yellow" variant="light" icon={<Icon name="warning" />} data-testid="not-enforced">
          {t.notAll(open)}
        </Alert>
      )}
      {limits.length + confinement.length === 0 && <Text size="sm">{t.noProcess}</Text>}
      <Measures title={t.limits} list={limits} />
      <Measures title={t.confinement} list={confinement} />
      <Command line={`carbonado component show ${name}`} />
    </Stack>
  )
}

function Measures({ title, list }: { title: string; list: Measure[] }) {
  if (list.length === 0) return null
  return (
    <Section title={title}>
      <Wide label={title} head={[t.what, t.held, t.by]} id="measures">
        {list.map(m => (
          <Table.Tr key={m.what} data-enforced={m.enforced}>
            <Table.Td>{m.what}</Table.Td>
            <Table.Td>
              <Badge className={m.enforced ? 'tone tone-good' : 'tone tone-bad'} leftSection={<Icon name={m.enforced ? 'check' : 'cross'} size={11} />}>
                {m.enforced ? t.yes : t.no}
              </Badge>
            </Table.Td>
            <Table.Td>
              <Text size="sm">{m.by}</Text>
              {m.why && (
                <Text size="xs" c="dimmed">
                  {m.why}
                </Text>
              )}
            </Table.Td>
          </Table.Tr>
        ))}
      </Wide>
    </Section>
  )
}
