import { useQuery } from '@tanstack/react-query'
import { bootQuery } from '../../api/kernel'
import { Problem } from '../../parts/Problem'
import { Section } from '../../parts/Section'
import { text } from '../../text'
import { Waterfall } from '../Waterfall'

/** Start shows the last start of all, with one component marked. */
export function Start({ name }: { name?: string }) {
  const boot = useQuery(bootQuery)
  return (
    <Section title={name ? text.boot.title : text.boot.each}>
      {boot.error && <Problem error={boot.error} retry={() => void boot.refetch()} />}
      {boot.data && <Waterfall boot={boot.data} focus={name} />}
    </Section>
  )
}
