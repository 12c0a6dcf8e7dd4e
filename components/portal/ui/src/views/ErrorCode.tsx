import { Stack, Text, Title } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { getRouteApi } from '@tanstack/react-router'
import { errorQuery } from '../api/kernel'
import { Command } from '../parts/Command'
import { Loading } from '../parts/Loading'
import { Problem } from '../parts/Problem'
import { Section } from '../parts/Section'
import { Words } from '../parts/Words'
import { text } from '../text'
import { useTitle } from './useTitle'

const route = getRouteApi('/shell/errors/$code')

/** ErrorCode is one entry of the error catalogue. */
export function ErrorCode() {
  const { code } = route.useParams()
  useTitle(code)
  const entry = useQuery(errorQuery(code))
  return (
    <Stack>
      <Title order={1} size="h2" className="mono">
        {code}
      </Title>
      {entry.error && <Problem error={entry.error} />}
      {entry.isPending && <Loading />}
      {entry.data && (
        <>
          <Section title={text.errors.meaning} id="meaning">
            <Text size="sm">
              <Words text={entry.data.meaning} />
            </Text>
          </Section>
          {entry.data.fix && (
            <Section title={text.focus.fix}>
              <Text size="sm">
                <Words text={entry.data.fix} />
              </Text>
            </Section>
          )}
          <Text size="sm" c="dimmed">
            {`${text.errors.raised} `}
            <span className="mono">{entry.data.raisedIn}</span>
          </Text>
        </>
      )}
      <Command line={`carbonado error ${code}`} />
    </Stack>
  )
}
