import { ScrollArea, Table } from '@mantine/core'
import type { ReactNode } from 'react'

/** Wide is a table that scrolls by itself on narrow screens, by keyboard too. */
export function Wide({ label, head, children, width = 640, id }: { label: string; head: string[]; children: ReactNode; width?: number; id?: string }) {
  return (
    <ScrollArea type="auto" viewportProps={{ tabIndex: 0, 'aria-label': label, role: 'group' }}>
      <Table verticalSpacing={6} horizontalSpacing="sm" miw={width} data-testid={id}>
        <Table.Thead>
          <Table.Tr>
            {head.map(name => (
              <Table.Th key={name}>{name}</Table.Th>
            ))}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>{children}</Table.Tbody>
      </Table>
    </ScrollArea>
  )
}
