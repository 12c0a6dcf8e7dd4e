import { Alert, Anchor, Button, Group, SegmentedControl, Stack, Tabs, Text, Title } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { getRouteApi, Link } from '@tanstack/react-router'
import { lazy, Suspense, useMemo, useState } from 'react'
import { componentQuery, componentsQuery, graphQuery, planQuery, servicesQuery, useEvents } from '../api/kernel'
import { granted, meQuery } from '../api/session'
import { since } from '../model/format'
import { near, usersOf, withWanted } from '../model/graph'
import { lines } from '../model/runtime'
import { verbsOf } from '../model/verbs'
import { Command } from '../parts/Command'
import { Icon } from '../parts/Icon'
import { LiveMark } from '../parts/LiveMark'
import { Loading } from '../parts/Loading'
import { Problem } from '../parts/Problem'
import { Section } from '../parts/Section'
import { Health, State } from '../parts/State'
import { text } from '../text'
import { Change, type Wish } from './Change'
import { Configuration } from './focus/Configuration'
import { History } from './focus/History'
import { Limits } from './focus/Limits'
import { Start } from './focus/Start'
import { Why } from './focus/Why'
import { Wiring } from './focus/Wiring'
import { useTitle } from './useTitle'

const Graph = lazy(() => import('./focus/Graph'))
const t = text.focus

export interface Aspect {
  tab?: string
  hops?: string
}

const tabs = ['wiring', 'history', 'start', 'configuration', 'limits'] as const
const route = getRouteApi('/shell/components/$name')

export function FocusView() {
  const { name } = route.useParams()
  const aspect = route.useSearch()
  const navigate = route.useNavigate()
  // Another component is another view: nothing of the one before stays.
  return <Focus key={name} name={name} aspect={aspect} change={next => void navigate({ search: old => ({ ...old, ...next }), replace: true })} />
}

/** Focus shows one component and what is near: live, with why it is as it is. */
function Focus({ name, aspect, change }: { name: string; aspect: Aspect; change: (next: Aspect) => void }) {
  useTitle(name)
  const live = useEvents()
  const components = useQuery(componentsQuery)
  const plan = useQuery(planQuery)
  const graph = useQuery(graphQuery)
  const services = useQuery(servicesQuery)
  const { data: me } = useQuery(meQuery)
  const [wish, setWish] = useState<Wish>()
  const line = useMemo(() => lines(components.data ?? [], plan.data).find(l => l.name === name), [components.data, plan.data, name])
  const installed = components.data?.some(c => c.name === name) ?? false
  const one = useQuery({ ...componentQuery(name), enabled: installed || (components.isSuccess && plan.isSuccess && !line) })
  const detail = one.data?.detail

  const hops = aspect.hops === '2' ? 2 : 1
  const tab = tabs.find(x => x === aspect.tab) ?? 'wiring'
  const whole = useMemo(() => graph.data && withWanted(graph.data, name, detail?.requires ?? [], services.data ?? []), [graph.data, name, detail, services.data])
  const around = useMemo(() => whole && near(whole, name, hops), [whole, name, hops])
  const users = [...new Set(whole ? usersOf(whole, name).map(e => e.from) : [])]

  if (!line) {
    const error = components.error ?? plan.error ?? one.error
    return error ? <Problem error={error} retry={() => void components.refetch()} /> : <Loading />
  }
  const verbs = granted(me, '/permission/admin') ? verbsOf(line.state, installed) : []
  const facts = [
    [text.components.version, line.version],
    [text.components.pid, line.pid ? String(line.pid) : ''],
    [text.components.restarts, installed ? String(line.restarts) : ''],
    [t.generation, detail?.generation ? String(detail.generation) : ''],
    [t.since, detail ? since(detail.since, Date.now()) : ''],
    [t.package, detail?.package ?? ''],
  ].filter(([, value]) => value)

  return (
    <Stack data-testid="focus" data-name={name} data-state={line.state} data-pid={line.pid}>
      <Group justify="space-between">
        <Anchor component={Link} to="/components" size="sm">
          {text.components.title}
        </Anchor>
        <LiveMark live={live} />
      </Group>
      <Group justify="space-between" align="flex-start">
        <div>
          <Group gap="sm">
            <Title order={1} size="h2">
              {name}
            </Title>
            <State state={line.state} />
            <Health health={line.health} />
          </Group>
          <Text size="sm" c="dimmed">
            {detail?.summary}
          </Text>
        </div>
        <Group gap="xs">
          {verbs.map(verb => (
            <Button key={verb} size="compact-sm" variant="default" leftSection={verb === 'restart' ? <Icon name="restart" size={14} /> : undefined} onClick={() => setWish({ verb, name })}>
              {text.components.verbs[verb]}
            </Button>
          ))}
        </Group>
      </Group>
      <dl className="facts">
        {facts.map(([what, value]) => (
          <div key={what}>
            <Text component="dt" size="xs" c="dimmed">
              {what}
            </Text>
            <Text component="dd" m={0} size="sm" fw={600} className="wrap">
              {value}
            </Text>
          </div>
        ))}
      </dl>
      {one.error && <Problem error={one.error} retry={() => void one.refetch()} />}
      <div className="focus-grid">
        <Section
          title={t.graph}
          id="around"
          side={
            <SegmentedControl size="xs" aria-label={t.hops} value={String(hops)} onChange={v => change({ hops: v === '2' ? '2' : undefined })} data={[1, 2].map(n => ({ value: String(n), label: t.hop(n) }))} />
          }
        >
          {graph.error && <Problem error={graph.error} retry={() => void graph.refetch()} />}
          {around && around.nodes.length > 0 && (
            <Suspense fallback={<Loading />}>
              <Graph around={around} focus={name} hops={hops} />
            </Suspense>
          )}
          {around && around.leftOut > 0 && (
            <Alert color="yellow" variant="light" mt="xs">
              {t.leftOut(around.leftOut)}
            </Alert>
          )}
          <Group justify="space-between" mt="xs">
            <Text size="xs" c="dimmed">
              {t.arrow}
            </Text>
            <Command line={`carbonado graph ${name}`} />
          </Group>
        </Section>
        <Why line={line} installed={installed} />
      </div>
      {installed && (
        <Tabs value={tab} onChange={v => change({ tab: v === 'wiring' || !v ? undefined : v })} keepMounted={false}>
          <Tabs.List aria-label={t.parts}>
            {tabs.map(x => (
              <Tabs.Tab key={x} value={x}>
                {t.tabs[x]}
              </Tabs.Tab>
            ))}
          </Tabs.List>
          <Tabs.Panel value="wiring" pt="md">
            <Wiring name={name} graph={whole} detail={detail} />
          </Tabs.Panel>
          <Tabs.Panel value="history" pt="md">
            <History name={name} />
          </Tabs.Panel>
          <Tabs.Panel value="start" pt="md">
            <Start name={name} />
          </Tabs.Panel>
          <Tabs.Panel value="configuration" pt="md">
            <Configuration name={name} />
          </Tabs.Panel>
          <Tabs.Panel value="limits" pt="md">
            <Limits name={name} detail={detail} />
          </Tabs.Panel>
        </Tabs>
      )}
      <Change wish={wish} users={users} close={() => setWish(undefined)} />
    </Stack>
  )
}
