import { Code } from '@mantine/core'

/** Words shows a sentence of the server; what stands between backticks is a command or a path. */
export function Words({ text }: { text: string }) {
  return text.split('`').map((part, i) =>
    i % 2 === 1 ? (
      <Code key={i} c="inherit">
        {part}
      </Code>
    ) : (
      part
    ),
  )
}
