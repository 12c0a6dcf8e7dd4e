import { Anchor, Card, SimpleGrid, Stack, Tabs, Text, Title } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate } from '@tanstack/react-router'
import { useEffect } from 'react'
import { dashboardQuery, dashboardsQuery } from '../api/dashboards'
import { Loading } from '../parts/Loading'
import { Problem } from '../parts/Problem'
import { text } from '../text'
import { Gadget } from './Gadget'
import { useTitle } from './useTitle'

export function DashboardList() {
  useTitle(text.dashboards.title)
  const { data, error, refetch } = useQuery(dashboardsQuery)
  return (
    <Stack>
      <Title order={1} size="h2">
        {text.dashboards.title}
      </Title>
      {error && <Problem error={error} retry={() => void refetch()} />}
      {!data && !error && <Loading />}
      {data?.length === 0 && (
        <Card withBorder>
          <Text fw={600}>{text.dashboards.none}</Text>
          <Text c="dimmed">{text.dashboards.noneFix}</Text>
        </Card>
      )}
      <SimpleGrid cols={{ base: 1, sm: 2, lg: 3 }}>
        {data?.map(d => (
          <Card key={d.id} withBorder padding="lg">
            <Anchor component={Link} to={`/dashboards/${d.id}`} fw={650} size="lg">
              {d.title}
            </Anchor>
            <Text c="dimmed" size="sm" mt={4}>
              {d.description}
            </Text>
          </Card>
        ))}
      </SimpleGrid>
    </Stack>
  )
}

/** Start opens the only dashboard, and the list if there is another number of them. */
export function Start() {
  const { data } = useQuery(dashboardsQuery)
  const navigate = useNavigate()
  const only = data?.length === 1 ? data[0]?.id : undefined
  useEffect(() => {
    if (only) void navigate({ to: `/dashboards/${only}`, replace: true })
  }, [only, navigate])
  return <DashboardList />
}

export function DashboardView({ id, page }: { id: string; page?: string }) {
  const { data: dashboard, error, refetch } = useQuery(dashboardQuery(id))
  const navigate = useNavigate()
  useTitle(dashboard?.title ?? text.dashboards.title)
  if (error) return <Problem error={error} retry={() => void refetch()} />
  if (!dashboard) return <Loading />
  const shown = dashboard.pages.find(p => p.id === (page ?? dashboard.landing)) ?? dashboard.pages[0]
  return (
    <Stack>
      <div>
        <Title order={1} size="h2">
          {dashboard.title}
        </Title>
        {dashboard.description && <Text c="dimmed">{dashboard.description}</Text>}
      </div>
      {dashboard.pages.length > 1 && (
        <Tabs value={shown?.id} onChange={to => void navigate({ to: `/dashboards/${id}`, search: { page: to ?? undefined } })}>
          <Tabs.List aria-label={text.dashboards.pages}>
            {dashboard.pages.map(p => (
              <Tabs.Tab key={p.id} value={p.id}>
                {p.title}
              </Tabs.Tab>
            ))}
          </Tabs.List>
        </Tabs>
      )}
      <div className="grid">
        {shown?.gadgets?.map(g => (
          <Gadget key={g.id} dashboard={dashboard} gadget={g} />
        ))}
      </div>
    </Stack>
  )
}
