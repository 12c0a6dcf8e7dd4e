import { Alert, Anchor, Button, Stack, Text } from '@mantine/core'
import { Link, useLocation } from '@tanstack/react-router'
import { ApiError, type Cause } from '../api/http'
import { flatten } from '../model/runtime'
import { text } from '../text'
import { Icon } from './Icon'
import { Words } from './Words'

/** Chain shows a cause and what lies beneath it; the leaf, last, is what to look at. */
export function Chain({ cause }: { cause: Cause }) {
  const all = flatten(cause)
  return (
    <ol className={all.length > 1 ? 'chain' : 'chain single'}>
      {all.map((c, i) => (
        // A chain has no other identity than its order.
        <li key={i}>
          <Text size="sm">
            <Words text={c.text} />{' '}
            <Text span size="xs" c="dimmed" className="mono">
              <Code code={c.code} />
              {c.file ? ` · ${c.file}${c.line ? `:${c.line}` : ''}` : ''}
            </Text>
          </Text>
        </li>
      ))}
    </ol>
  )
}

/** Code leads to what the error catalogue says of a code, for those who are signed in. */
function Code({ code }: { code: string }) {
  const stranger = useLocation({ select: at => at.pathname === '/login' })
  if (stranger || !code.startsWith('CBN-')) return code
  return (
    <Anchor inherit c="inherit" underline="always" renderRoot={p => <Link {...p} to="/errors/$code" params={{ code }} />}>
      {code}
    </Anchor>
  )
}

/** fixOf is the advice nearest to the leaf. */
export function fixOf(cause: Cause): string {
  return flatten(cause).reverse().find(c => c.fix)?.fix ?? ''
}

/** Problem shows why something was refused, and what to do about it. */
export function Problem({ error, retry }: { error: unknown; retry?: () => void }) {
  const cause: Cause = error instanceof ApiError ? error.cause : { code: 'UI-002', text: String(error), chain: [], fix: '' }
  return (
    <Alert color="red" variant="light" icon={<Icon name="warning" />} title={text.error.title} role="alert" data-testid="problem">
      <Stack gap="xs" align="flex-start">
        <Chain cause={cause} />
        {fixOf(cause) && (
          <Text size="sm">
            <Words text={fixOf(cause)} />
          </Text>
        )}
        {retry && (
          <Button size="compact-sm" variant="default" onClick={retry}>
            {text.error.retry}
          </Button>
        )}
      </Stack>
    </Alert>
  )
}
