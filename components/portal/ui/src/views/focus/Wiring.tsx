import { SimpleGrid, Stack, Table, Text } from '@mantine/core'
import type { Detail, Graph, GraphEdge } from '../../api/kernel'
import { uses, usersOf } from '../../model/graph'
import { Command } from '../../parts/Command'
import { ComponentLink } from '../../parts/ComponentLink'
import { Section } from '../../parts/Section'
import { Wide } from '../../parts/Wide'
import { text } from '../../text'

const t = text.focus

/** Wiring writes what the graph draws: whom a component uses, and who uses it. */
export function Wiring({ name, graph, detail }: { name: string; graph?: Graph; detail?: Detail }) {
  const used = graph ? uses(graph, name) : []
  const users = graph ? usersOf(graph, name) : []
  const known = new Set(graph?.nodes.map(n => n.name))
  const bound = new Set(used.map(e => e.reference))
  const lacking = (detail?.requires ?? []).filter(r => !bound.has(r.name))
  return (
    <Stack>
      <SimpleGrid cols={{ base: 1, md: 2 }}>
        <Section title={t.uses} id="uses">
          {used.length + lacking.length === 0 ? (
            <Text size="sm">{t.usesNone}</Text>
          ) : (
            <Wide label={t.uses} width={420} head={[t.provider, t.reference, text.components.state]}>
              {used.map(e => (
                <Row key={`${e.reference} ${e.to}`} who={e.to} known={known} edge={e} />
              ))}
              {lacking.map(r => (
                <Table.Tr key={r.name}>
                  <Table.Td>–</Table.Td>
                  <Table.Td>
                    <Reference name={r.name} service={r.service} cardinality={r.cardinality} />
                  </Table.Td>
                  <Table.Td>{t.unbound}</Table.Td>
                </Table.Tr>
              ))}
            </Wide>
          )}
        </Section>
        <Section title={t.usedBy} id="users">
          {users.length === 0 ? (
            <Text size="sm">{t.usedNone}</Text>
          ) : (
            <Wide label={t.usedBy} width={420} head={[t.user, t.reference, text.components.state]}>
              {users.map(e => (
                <Row key={`${e.from} ${e.reference}`} who={e.from} known={known} edge={e} />
              ))}
            </Wide>
          )}
        </Section>
      </SimpleGrid>
      {(detail?.provides?.length ?? 0) > 0 && (
        <Section title={t.provides}>
          {detail?.provides?.map(s => (
            <Text key={s} size="sm" className="mono wrap">
              {s}
            </Text>
          ))}
        </Section>
      )}
      <Command line={`carbonado component show ${name}`} />
    </Stack>
  )
}

function Row({ who, known, edge }: { who: string; known: Set<string>; edge: GraphEdge }) {
  return (
    <Table.Tr>
      <Table.Td>
        {known.has(who) && who !== 'kernel' ? <ComponentLink name={who} /> : who}
      </Table.Td>
      <Table.Td>
        <Reference name={edge.reference} service={edge.service} cardinality={edge.cardinality} />
      </Table.Td>
      <Table.Td>{edge.state}</Table.Td>
    </Table.Tr>
  )
}

function Reference({ name, service, cardinality }: { name: string; service: string; cardinality: string }) {
  return (
    <>
      <Text size="sm">
        {name} <span className="mono">{cardinality}</span>
      </Text>
      <Text size="xs" c="dimmed" className="mono wrap">
        {service}
      </Text>
    </>
  )
}
