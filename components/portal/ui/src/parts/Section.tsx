import { Box, Card, Title } from '@mantine/core'
import { type ReactNode, useId } from 'react'

/** Section is a card with a heading of its own. */
export function Section({ title, side, children, id }: { title: string; side?: ReactNode; children: ReactNode; id?: string }) {
  const heading = useId()
  return (
    <Card component="section" withBorder padding="md" aria-labelledby={heading} data-testid={id}>
      <div className="section-head">
        <Title order={2} size="h5" id={heading}>
          {title}
        </Title>
        {side}
      </div>
      {children}
    </Card>
  )
}

/** Part is a piece of a section. */
export function Part({ title, children }: { title: string; children: ReactNode }) {
  return (
    <Box>
      <Title order={3} size="h6" mb={4}>
        {title}
      </Title>
      {children}
    </Box>
  )
}
