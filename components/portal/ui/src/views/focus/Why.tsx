import { Code, Group, Stack, Text } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { diagQuery } from '../../api/kernel'
import type { Line } from '../../model/runtime'
import { Command } from '../../parts/Command'
import { ComponentLink } from '../../parts/ComponentLink'
import { Chain, fixOf, Problem } from '../../parts/Problem'
import { Part, Section } from '../../parts/Section'
import { Words } from '../../parts/Words'
import { text } from '../../text'

const t = text.focus

/** Why is what `carbonado why` and `carbonado component diag` say, from the same cause. */
export function Why({ line, installed }: { line: Line; installed: boolean }) {
  const diag = useQuery({ ...diagQuery(line.name), enabled: installed })
  const own = diag.data?.cause
  const causes = own ? [own] : line.causes
  const fixes = [...new Set(causes.map(fixOf).filter(Boolean))]
  const blocks = diag.data?.blocks ?? []
  const evidence = diag.data?.evidence ?? []
  return (
    <Section title={t.why} id="why">
      <Stack gap="md">
        {causes.length > 0 ? (
          <Part title={t.chain}>
            <Stack gap="sm">
              {causes.map((c, i) => (
                <Chain key={i} cause={c} />
              ))}
            </Stack>
          </Part>
        ) : (
          !line.rule && <Text size="sm">{line.state === 'ACTIVE' ? t.ok : installed ? t.noCause : t.notInstalled}</Text>
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
        {blocks.length > 0 && (
          <Part title={t.blocks}>
            <Group gap="xs">
              {blocks.map(b => (
                <ComponentLink key={b} name={b} />
              ))}
            </Group>
          </Part>
        )}
        {diag.data?.lastResult && (
          <Part title={t.lastResult}>
            <Code c="inherit">{diag.data.lastResult}</Code>
          </Part>
        )}
        {line.state !== 'ACTIVE' && evidence.length > 0 && (
          <Part title={t.evidence}>
            <pre className="log mono" tabIndex={0} role="group" aria-label={t.evidence}>
              {evidence.join('\n')}
            </pre>
          </Part>
        )}
        {diag.error && <Problem error={diag.error} retry={() => void diag.refetch()} />}
        <Command line={installed ? `carbonado component diag ${line.name}` : 'carbonado plan'} />
      </Stack>
    </Section>
  )
}
