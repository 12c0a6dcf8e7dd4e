import { Anchor, Stack, Title } from '@mantine/core'
import { Link } from '@tanstack/react-router'
import { text } from '../text'
import { Start } from './focus/Start'
import { useTitle } from './useTitle'

/** Boot is the last start of the whole. */
export function Boot() {
  useTitle(text.boot.title)
  return (
    <Stack>
      <Anchor component={Link} to="/components" size="sm">
        {text.components.title}
      </Anchor>
      <Title order={1} size="h2">
        {text.boot.title}
      </Title>
      <Start />
    </Stack>
  )
}
