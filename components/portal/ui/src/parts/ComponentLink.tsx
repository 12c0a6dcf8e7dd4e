import { Anchor, type AnchorProps } from '@mantine/core'
import { Link } from '@tanstack/react-router'

/** ComponentLink leads to the view of one component. */
export function ComponentLink({ name, ...props }: { name: string } & AnchorProps) {
  return (
    <Anchor size="sm" {...props} renderRoot={p => <Link {...p} to="/components/$name" params={{ name }} />}>
      {name}
    </Anchor>
  )
}
