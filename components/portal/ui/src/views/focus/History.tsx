import { Stack, Table, Text } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { historyQuery } from '../../api/kernel'
import { Command } from '../../parts/Command'
import { Problem } from '../../parts/Problem'
import { Section } from '../../parts/Section'
import { State } from '../../parts/State'
import { Wide } from '../../parts/Wide'
import { text } from '../../text'

const t = text.focus
const shown = 100

/** History lists the transitions of this run, newest first. */
export function History({ name }: { name: string }) {
  const history = useQuery(historyQuery(name))
  const last = (history.data ?? []).slice(-shown).reverse()
  return (
    <Section title={t.tabs.history}>
      <Stack gap="sm">
        {history.error && <Problem error={history.error} retry={() => void history.refetch()} />}
        {history.data && last.length === 0 && <Text size="sm">{t.noHistory}</Text>}
        {last.length > 0 && (
          <Wide label={t.tabs.history} head={[t.time, t.change, t.reason, t.actor]} id="history">
            {last.map(h => (
              <Table.Tr key={h.seq} data-seq={h.seq} data-to={h.to}>
                <Table.Td className="mono">
                  <time dateTime={h.time}>{new Date(h.time).toLocaleTimeString('en-GB')}</time>
                </Table.Td>
                <Table.Td>
                  <State state={h.to} />
                </Table.Td>
                <Table.Td>
                  {h.reason} {h.beside && <Text span size="xs" c="dimmed">{`(${t.beside})`}</Text>}
                </Table.Td>
                <Table.Td>{h.actor}</Table.Td>
              </Table.Tr>
            ))}
          </Wide>
        )}
        <Command line={`carbonado component history ${name}`} />
      </Stack>
    </Section>
  )
}
