import { Button, Paper, PasswordInput, Stack, Text, Title } from '@mantine/core'
import { useMutation, useQuery } from '@tanstack/react-query'
import { type FormEvent, useState } from 'react'
import { changePassword, granted, meQuery } from '../api/session'
import { Problem } from '../parts/Problem'
import { text } from '../text'
import { useTitle } from './useTitle'

export function Password() {
  useTitle(text.password.title)
  const { data: me } = useQuery(meQuery)
  const [current, setCurrent] = useState('')
  const [next, setNext] = useState('')
  const [again, setAgain] = useState('')
  const changing = useMutation({
    mutationFn: () => changePassword(current, next),
    onSuccess: () => window.location.assign('/login'),
  })
  const optional = granted(me, '/permission/admin/configure/security/usermgt')
  const short = next.length > 0 && next.length < 8
  const differ = again.length > 0 && again !== next
  const submit = (event: FormEvent) => {
    event.preventDefault()
    if (!short && next === again) changing.mutate()
  }
  return (
    <Paper withBorder p="lg" maw={480}>
      <form onSubmit={submit}>
        <Stack>
          <Title order={1} size="h3">
            {text.password.title}
          </Title>
          <Text size="sm" c="dimmed">
            {text.password.lead}
          </Text>
          <input type="text" name="username" autoComplete="username" value={me?.user ?? ''} readOnly hidden />
          <PasswordInput label={text.password.current} description={optional ? text.password.optional : undefined} autoComplete="current-password" required={!optional} withAsterisk={false} value={current} onChange={e => setCurrent(e.currentTarget.value)} />
          <PasswordInput label={text.password.next} description={text.password.short} error={short && text.password.short} autoComplete="new-password" required withAsterisk={false} value={next} onChange={e => setNext(e.currentTarget.value)} />
          <PasswordInput label={text.password.again} error={differ && text.password.differ} autoComplete="new-password" required withAsterisk={false} value={again} onChange={e => setAgain(e.currentTarget.value)} />
          <Button type="submit" loading={changing.isPending}>
            {text.password.button}
          </Button>
          {changing.error && <Problem error={changing.error} />}
        </Stack>
      </form>
    </Paper>
  )
}
