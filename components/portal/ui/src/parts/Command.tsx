import { ActionIcon, Code, CopyButton, Group, Tooltip } from '@mantine/core'
import { text } from '../text'
import { Icon } from './Icon'

/** Command is what does the same on the command line. */
export function Command({ line }: { line: string }) {
  return (
    <Group gap={6} wrap="nowrap">
      <Code fz="sm" c="inherit">
        {line}
      </Code>
      <CopyButton value={line}>
        {({ copied, copy }) => (
          <Tooltip label={copied ? text.copied : text.copy}>
            <ActionIcon size="sm" variant="subtle" color="gray" onClick={copy} aria-label={`${text.copy}: ${line}`}>
              <Icon name={copied ? 'check' : 'copy'} size={14} />
            </ActionIcon>
          </Tooltip>
        )}
      </CopyButton>
    </Group>
  )
}
