import { Alert, Box, Card, Group, ScrollArea, Stack, Table, Text, Title } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { lazy, Suspense, useMemo } from 'react'
import { type Dashboard, type Gadget as Definition, gadgetQuery, type Read } from '../api/dashboards'
import { ApiError } from '../api/http'
import { number } from '../model/format'
import { bars, series, single } from '../model/rows'
import { Icon } from '../parts/Icon'
import { Loading } from '../parts/Loading'
import { Problem } from '../parts/Problem'
import { text } from '../text'

// Charts come when they are needed: the number must not wait for them.
const BarChart = lazy(() => import('../charts/BarChart'))
const LineChart = lazy(() => import('../charts/LineChart'))

// A table that is not there yet is no fault: scripts make theirs when they first run.
const noTable = 'CBN-PRT-003'

export function Gadget({ dashboard, gadget }: { dashboard: Dashboard; gadget: Definition }) {
  const { data, error, isPending, refetch } = useQuery(gadgetQuery(dashboard, gadget))
  const area = { gridColumn: `${gadget.x + 1} / span ${gadget.width}`, gridRow: `${gadget.y + 1} / span ${gadget.height}` }
  return (
    <Box style={area} className={gadget.height > 3 ? 'tall' : undefined}>
      <Card component="section" withBorder padding="md" className="gadget" aria-labelledby={`gadget-${gadget.id}`} data-testid={`gadget-${gadget.id}`}>
        <Box mb="xs">
          <Title order={2} size="h5" id={`gadget-${gadget.id}`}>
            {gadget.title}
          </Title>
          {gadget.description && (
            <Text size="xs" c="dimmed">
              {gadget.description}
            </Text>
          )}
        </Box>
        <div className="gadget-body">
          {data && error && (
            <Alert color="yellow" variant="light" p={6} mb={6} icon={<Icon name="warning" />} title={text.dashboards.stale}>
              {error.message}
            </Alert>
          )}
          {data ? (
            <Drawing gadget={gadget} read={data} />
          ) : error instanceof ApiError && error.cause.code === noTable ? (
            <Empty hint={error.message} />
          ) : error ? (
            <ScrollArea h="100%">
              <Problem error={error} retry={() => void refetch()} />
            </ScrollArea>
          ) : (
            isPending && <Waiting />
          )}
        </div>
      </Card>
    </Box>
  )
}

function Waiting() {
  return (
    <Group justify="center" align="center" h="100%">
      <Loading size="sm" />
    </Group>
  )
}

function Empty({ hint }: { hint?: string }) {
  return (
    <Stack gap={2} justify="center" align="center" h="100%">
      <Text fw={600}>{text.dashboards.empty}</Text>
      <Text size="sm" c="dimmed">
        {text.dashboards.emptyHint}
      </Text>
      {hint && (
        <Text size="xs" c="dimmed" ta="center" className="mono" style={{ overflowWrap: 'anywhere' }}>
          {hint}
        </Text>
      )}
    </Stack>
  )
}

function Drawing({ gadget, read }: { gadget: Definition; read: Read }) {
  const { chart, title } = gadget
  const { type, x = '', unit = '', decimals = 0, sort } = chart
  const y = useMemo(() => chart.y ?? [], [chart.y])
  const drawn = useMemo(() => {
    if (type === 'bar') return { bars: bars(read.rows, x, y, sort) }
    if (type === 'line') return { series: series(read.rows, x, y) }
    return {}
  }, [type, x, y, sort, read.rows])

  const absent = read.rows.length > 0 ? [x, ...y].find(column => column !== '' && read.rows.every(row => row[column] === undefined)) : undefined
  if (absent) {
    return (
      <Text size="sm" c="red">
        {text.dashboards.noColumn} <span className="mono">{absent}</span>
      </Text>
    )
  }
  if (type === 'number') {
    const shown = single(read.rows, read.count, chart)
    if (!shown) return <Empty />
    return (
      <Stack gap={0} justify="center" h="100%">
        <Text className="number" data-testid="number" data-value={shown.value}>
          {number(shown.value, decimals)}
          <Text span size="md" c="dimmed" fw={500} ml={8}>
            {unit}
          </Text>
        </Text>
        {shown.label && <Text c="dimmed">{shown.label}</Text>}
      </Stack>
    )
  }
  if (type === 'table') return read.rows.length ? <Rows rows={read.rows} columns={y} /> : <Empty />
  if (drawn.bars?.length === 0 || drawn.series?.[0].length === 0) return <Empty />
  return (
    <Suspense fallback={<Waiting />}>
      {drawn.bars && <BarChart title={title} bars={drawn.bars} names={y} unit={unit} decimals={decimals} />}
      {drawn.series && <LineChart title={title} series={drawn.series} names={y} unit={unit} decimals={decimals} />}
    </Suspense>
  )
}

function Rows({ rows, columns }: { rows: Read['rows']; columns: string[] }) {
  const names = columns.length ? columns : Object.keys(rows[0] ?? {}).filter(name => !name.startsWith('_'))
  return (
    <ScrollArea h="100%" tabIndex={0}>
      <Table stickyHeader striped data-testid="table">
        <Table.Thead>
          <Table.Tr>
            {names.map(name => (
              <Table.Th key={name}>{name}</Table.Th>
            ))}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {rows.map((row, i) => (
            <Table.Tr key={String(row._id ?? i)}>
              {names.map(name => (
                <Table.Td key={name}>{String(row[name] ?? '')}</Table.Td>
              ))}
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </ScrollArea>
  )
}
