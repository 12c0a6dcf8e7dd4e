import { Loader } from '@mantine/core'
import { text } from '../text'

/** Loading says that something is on its way, to those who can't see it too. */
export function Loading({ size }: { size?: 'sm' }) {
  return <Loader size={size} role="status" aria-label={text.error.loading} />
}
