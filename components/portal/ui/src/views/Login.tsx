import { Anchor, Button, Center, Paper, PasswordInput, Stack, Text, TextInput, Title } from '@mantine/core'
import { useMutation } from '@tanstack/react-query'
import { type FormEvent, useState } from 'react'
import { localPath, signIn, signInOnce } from '../api/session'
import { Mark } from '../parts/Icon'
import { Problem } from '../parts/Problem'
import { text } from '../text'
import { useTitle } from './useTitle'

export function Login({ to, token }: { to?: string; token?: string }) {
  useTitle(text.signIn.title)
  const [once, setOnce] = useState(Boolean(token))
  const [user, setUser] = useState('')
  const [password, setPassword] = useState('')
  const entering = useMutation({
    mutationFn: () => (once && token ? signInOnce(token) : signIn(user, password)),
    // A fresh load: nothing of what somebody else read before stays in memory.
    onSuccess: () => window.location.replace(localPath(to)),
  })
  const submit = (event: FormEvent) => {
    event.preventDefault()
    entering.mutate()
  }
  return (
    <Center component="main" mih="100dvh" p="md" className="page">
      <Paper withBorder shadow="sm" p="xl" w={400} maw="100%" radius="lg">
        <form onSubmit={submit}>
          <Stack>
            <Stack gap="xs" align="center">
              <Mark size={52} />
              <Title order={1} size="h3">
                {text.product}
              </Title>
            </Stack>
            {once ? (
              <>
                <Text size="sm">{text.signIn.once}</Text>
                <Button type="submit" loading={entering.isPending} data-autofocus>
                  {text.signIn.onceButton}
                </Button>
                <Anchor component="button" type="button" size="sm" onClick={() => setOnce(false)}>
                  {text.signIn.otherwise}
                </Anchor>
              </>
            ) : (
              <>
                <TextInput label={text.signIn.user} name="username" autoComplete="username" autoCapitalize="none" spellCheck={false} required withAsterisk={false} autoFocus value={user} onChange={e => setUser(e.currentTarget.value)} />
                <PasswordInput label={text.signIn.password} name="password" autoComplete="current-password" required withAsterisk={false} value={password} onChange={e => setPassword(e.currentTarget.value)} />
                <Button type="submit" loading={entering.isPending}>
                  {text.signIn.button}
                </Button>
                <Text size="xs" c="dimmed" ta="center">
                  {text.signIn.hint}
                </Text>
              </>
            )}
            {entering.error && <Problem error={entering.error} />}
          </Stack>
        </form>
      </Paper>
    </Center>
  )
}
