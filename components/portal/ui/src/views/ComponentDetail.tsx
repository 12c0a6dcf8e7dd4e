import { Box, Code, Group, SimpleGrid, Stack, Text, Title } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import type { ReactNode } from 'react'
import { diagQuery, historyQuery } from '../api/kernel'
import type { Line } from '../model/runtime'
import { Command } from '../parts/Command'
import { Chain, fixOf, Problem } from '../parts/Problem'
import { Words } from '../parts/Words'
import { text } from '../text'

const t = text.components
const shownTransitions = 12

function Part({ title, children }: { title: string; children: ReactNode }) {
  return (
    <Box>
      <Title order={2} size="h6" mb={4}>
        {title}
      </Title>
      {children}
    </Box>
  )
}

/** ComponentDetail says why a component is as it is, and what does the same on the command line. */
export function ComponentDetail({ line, users }: { line: Line; users: string[] }) {
  const diag = useQuery({ ...diagQuery(line.name), enabled: line.installed })
  const history = useQuery({ ...historyQuery(line.name), enabled: line.installed })
  const own = diag.data?.cause
  const causes = line.causes.length > 0 ? line.causes : own ? [own] : []
  const fixes = [...new Set(causes.map(fixOf).filter(Boolean))]
  const used = [...new Set([...users, ...(diag.data?.blocks ?? [])])]
  const commands = line.installed
    ? [`carbonado component diag ${line.name}`, `carbonado component history ${line.name}`, `carbonado component logs ${line.name}`]
    : ['carbonado plan']
  return (
    <SimpleGrid cols={{ base: 1, md: 2 }} spacing="xl" p="sm" data-testid={`detail-of-${line.name}`}>
      <Stack gap="md">
        {causes.length > 0 ? (
          <Part title={t.causes}>
            <Stack gap="sm">
              {causes.map((c, i) => (
                <Chain key={i} cause={c} />
              ))}
            </Stack>
          </Part>
        ) : (
          !line.rule && <Text size="sm">{line.state === 'ACTIVE' ? t.ok : t.notInstalled}</Text>
        )}
        {line.rule && (
          <Part title={t.rule}>
            <Code c="inherit">{line.rule}</Code>
          </Part>
        )}
        {fixes.length > 0 && (
          <Part title={t.fix}>
            {fixes.map(f => (
              <Text key={f} size="sm">
                <Words text={f} />
              </Text>
            ))}
          </Part>
        )}
        {diag.data?.lastResult && (
          <Part title={t.lastResult}>
            <Code c="inherit">{diag.data.lastResult}</Code>
          </Part>
        )}
        <Part title={t.cli}>
          <Stack gap={4}>
            {commands.map(c => (
              <Command key={c} line={c} />
            ))}
          </Stack>
        </Part>
      </Stack>
      <Stack gap="md">
        {line.wires.length > 0 && (
          <Part title={t.wired}>
            {line.wires.map(w => (
              <Text key={`${w.reference} ${w.provider}`} size="sm">
                <b>{w.provider || '–'}</b>{' '}
                <Text span size="xs" c="dimmed" className="mono">
                  {w.reference}: {w.service} {w.cardinality}
                </Text>
              </Text>
            ))}
          </Part>
        )}
        {used.length > 0 && (
          <Part title={t.usedBy}>
            <Text size="sm">{used.join(', ')}</Text>
          </Part>
        )}
        {history.data && history.data.length > 0 && (
          <Part title={t.history}>
            <Stack gap={2}>
              {history.data.slice(-shownTransitions).map(h => (
                <Group key={h.seq} gap={8} wrap="nowrap" align="baseline">
                  <Text size="xs" c="dimmed" className="mono" style={{ flex: 'none' }}>
                    {new Date(h.time).toLocaleTimeString()}
                  </Text>
                  <Text size="sm">
                    {h.from ? `${h.from} → ` : ''}
                    <b>{h.to}</b> <span>{h.reason}</span>
                  </Text>
                </Group>
              ))}
            </Stack>
          </Part>
        )}
        {line.state !== 'ACTIVE' && (diag.data?.evidence?.length ?? 0) > 0 && (
          <Part title={t.evidence}>
            <pre className="log mono" tabIndex={0} aria-label={t.evidence}>
              {diag.data?.evidence?.join('\n')}
            </pre>
          </Part>
        )}
        {diag.error && <Problem error={diag.error} retry={() => void diag.refetch()} />}
      </Stack>
    </SimpleGrid>
  )
}
