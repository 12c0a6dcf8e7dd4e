import { Stack, Table, Text } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { settingsQuery } from '../../api/kernel'
import { shownValue } from '../../model/format'
import { Command } from '../../parts/Command'
import { Problem } from '../../parts/Problem'
import { Section } from '../../parts/Section'
import { Wide } from '../../parts/Wide'
import { text } from '../../text'

const t = text.focus

/** Configuration lists the values in force and where each stands; the server leaves secrets out. */
export function Configuration({ name }: { name: string }) {
  const settings = useQuery(settingsQuery(name))
  // A component without configuration has no key: that is no fault.
  const none = settings.data?.length === 0
  return (
    <Section title={t.tabs.configuration}>
      <Stack gap="sm">
        {settings.error && <Problem error={settings.error} />}
        {none && <Text size="sm">{t.noSettings}</Text>}
        {settings.data && !none && (
          <Wide label={t.tabs.configuration} head={[t.key, t.value, t.origin]} id="settings">
            {settings.data.map(s => (
              <Table.Tr key={s.key}>
                <Table.Td className="mono">{s.key}</Table.Td>
                <Table.Td className="mono wrap">{shownValue(s.value)}</Table.Td>
                <Table.Td>
                  <Text size="sm">{s.layer}</Text>
                  <Text size="xs" c="dimmed" className="mono wrap">
                    {s.line ? `${s.file}:${s.line}` : s.file}
                  </Text>
                </Table.Td>
              </Table.Tr>
            ))}
          </Wide>
        )}
        <Command line={`carbonado config explain ${name}`} />
      </Stack>
    </Section>
  )
}
