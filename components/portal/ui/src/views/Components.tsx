import { Anchor, Button, Card, Group, ScrollArea, SegmentedControl, SimpleGrid, Stack, Table, Text, TextInput, Title } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useEffect, useMemo, useState } from 'react'
import { componentsQuery, planQuery, type Status, statusQuery, useEvents } from '../api/kernel'
import { granted, meQuery } from '../api/session'
import { since } from '../model/format'
import { counts, type Filter, headline, type Line, lines, matches, users } from '../model/runtime'
import { Command } from '../parts/Command'
import { ComponentLink } from '../parts/ComponentLink'
import { Icon } from '../parts/Icon'
import { LiveMark } from '../parts/LiveMark'
import { Loading } from '../parts/Loading'
import { Problem } from '../parts/Problem'
import { Health, State } from '../parts/State'
import { Words } from '../parts/Words'
import { text } from '../text'
import { Change, type Wish } from './Change'
import { verbsOf } from '../model/verbs'
import { useTitle } from './useTitle'

const t = text.components

export interface Search {
  show?: string
  find?: string
}

const filters: Filter[] = ['all', 'running', 'not-running']

export function Components({ search, change }: { search: Search; change: (next: Search) => void }) {
  useTitle(t.title)
  const live = useEvents()
  const components = useQuery(componentsQuery)
  const plan = useQuery(planQuery)
  const status = useQuery(statusQuery)
  const { data: me } = useQuery(meQuery)
  const [wish, setWish] = useState<Wish>()

  const all = useMemo(() => lines(components.data ?? [], plan.data), [components.data, plan.data])
  const filter = filters.find(f => f === search.show) ?? 'all'
  const shown = all.filter(line => matches(line, filter, search.find ?? ''))
  const mayRestart = granted(me, '/permission/admin')

  return (
    <Stack>
      <Group justify="space-between" align="flex-end">
        <Title order={1} size="h2">
          {t.title}
        </Title>
        <LiveMark live={live} />
      </Group>
      {status.data && <Node status={status.data} />}
      <Group gap="xs" role="list" data-testid="counts">
        {counts(all).map(c => (
          <Group key={c.state} gap={4} role="listitem">
            <Text fw={650}>{c.count}</Text>
            <State state={c.state} />
          </Group>
        ))}
      </Group>
      {components.error && <Problem error={components.error} retry={() => void components.refetch()} />}
      {plan.error && <Problem error={plan.error} retry={() => void plan.refetch()} />}
      {components.isPending ? (
        <Loading />
      ) : (
        <Card withBorder padding={0}>
          <Group p="md" justify="space-between">
            <TextInput
              aria-label={t.find}
              placeholder={t.find}
              leftSection={<Icon name="search" />}
              value={search.find ?? ''}
              onChange={e => change({ find: e.currentTarget.value || undefined })}
              w={260}
            />
            <SegmentedControl
              aria-label={t.show}
              value={filter}
              onChange={show => change({ show: show === 'all' ? undefined : show })}
              data={[
                { value: 'all', label: t.all },
                { value: 'running', label: t.running },
                { value: 'not-running', label: t.notRunning },
              ]}
            />
          </Group>
          <ScrollArea type="auto" viewportProps={{ tabIndex: 0, 'aria-label': t.title, role: 'region' }}>
            <Table verticalSpacing="sm" horizontalSpacing="md" miw={860} data-testid="components">
              <Table.Thead>
                <Table.Tr>
                  <Table.Th>{t.name}</Table.Th>
                  <Table.Th>{t.state}</Table.Th>
                  <Table.Th>{t.health}</Table.Th>
                  <Table.Th ta="right">{t.pid}</Table.Th>
                  <Table.Th ta="right">{t.restarts}</Table.Th>
                  <Table.Th>{t.why}</Table.Th>
                  <Table.Th ta="right">{t.actions}</Table.Th>
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {shown.map(line => (
                  <Row
                    key={line.name}
                    line={line}
                    restart={mayRestart && verbsOf(line.state, line.installed).includes('restart') ? () => setWish({ verb: 'restart', name: line.name }) : undefined}
                  />
                ))}
                {shown.length === 0 && (
                  <Table.Tr>
                    <Table.Td colSpan={7}>
                      <Text c="dimmed">{t.nothing}</Text>
                    </Table.Td>
                  </Table.Tr>
                )}
              </Table.Tbody>
            </Table>
          </ScrollArea>
        </Card>
      )}
      <Group gap="xl">
        <Command line="carbonado component ls" />
        <Anchor component={Link} to="/boot" size="sm">
          {t.boot}
        </Anchor>
      </Group>
      <Change wish={wish} users={wish ? users(all, wish.name) : []} close={() => setWish(undefined)} />
    </Stack>
  )
}

function Row({ line, restart }: { line: Line; restart?: () => void }) {
  return (
    <Table.Tr data-testid={`component-${line.name}`} data-state={line.state}>
      <Table.Td>
        <ComponentLink name={line.name} fw={600} c="inherit" />
        <Text size="xs" c="dimmed">
          {line.version}
        </Text>
      </Table.Td>
      <Table.Td>
        <State state={line.state} />
      </Table.Td>
      <Table.Td>
        <Health health={line.health} />
      </Table.Td>
      <Table.Td ta="right" className="mono">
        {line.pid || ''}
      </Table.Td>
      <Table.Td ta="right" className="mono">
        {line.installed ? line.restarts : ''}
      </Table.Td>
      <Table.Td maw={420}>
        <Text size="sm" lineClamp={2}>
          <Words text={headline(line)} />
        </Text>
      </Table.Td>
      <Table.Td ta="right">
        {restart && (
          <Button size="compact-sm" variant="default" leftSection={<Icon name="restart" size={14} />} onClick={restart} aria-label={`${t.verbs.restart} ${line.name}`}>
            {t.verbs.restart}
          </Button>
        )}
      </Table.Td>
    </Table.Tr>
  )
}

function Node({ status }: { status: Status }) {
  const [now, setNow] = useState(() => Date.now())
  useEffect(() => {
    const timer = window.setInterval(() => setNow(Date.now()), 1000)
    return () => window.clearInterval(timer)
  }, [])
  const facts = [
    [t.state, status.state],
    [t.profile, status.profile || 'default'],
    [t.version, status.version],
    [t.kernel, String(status.kernelPid || '')],
    [t.up, since(status.since, now)],
  ].filter(([, value]) => value)
  return (
    <Card withBorder padding="md">
      <SimpleGrid component="dl" cols={{ base: 2, sm: 3, md: 5 }} m={0} spacing="md">
        {facts.map(([name, value]) => (
          <div key={name}>
            <Text component="dt" size="xs" c="dimmed">
              {name}
            </Text>
            <Text component="dd" m={0} fw={600}>
              {value}
            </Text>
          </div>
        ))}
      </SimpleGrid>
    </Card>
  )
}
