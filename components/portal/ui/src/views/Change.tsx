import { Alert, Button, Group, Modal, Stack, Text } from '@mantine/core'
import { useMutation } from '@tanstack/react-query'
import { carry, type Verb } from '../api/kernel'
import { blind } from '../model/verbs'
import { Command } from '../parts/Command'
import { Icon } from '../parts/Icon'
import { Problem } from '../parts/Problem'
import { text } from '../text'

const t = text.components

export interface Wish {
  verb: Verb
  name: string
}

/** Change asks before something is done to a component, and says why it was not. */
export function Change({ wish, users, close }: { wish?: Wish; users: string[]; close: () => void }) {
  const going = useMutation({ mutationFn: (w: Wish) => carry(w.verb, w.name), onSuccess: close })
  const leave = () => {
    going.reset()
    close()
  }
  return (
    // Without Mantine's header of a dialog: it is a second banner to assistive technology.
    <Modal.Root opened={wish !== undefined} onClose={leave} centered>
      <Modal.Overlay />
      <Modal.Content radius="lg">
        <Modal.Body p="lg">{wish && <Question wish={wish} users={users} going={going} leave={leave} />}</Modal.Body>
      </Modal.Content>
    </Modal.Root>
  )
}

interface Going {
  error: Error | null
  isPending: boolean
  mutate: (wish: Wish) => void
}

function Question({ wish, users, going, leave }: { wish: Wish; users: string[]; going: Going; leave: () => void }) {
  const ends = wish.verb === 'stop' || wish.verb === 'disable'
  const concerns = wish.verb === 'restart' ? t.askUsers.restart : ends ? t.askUsers.stop : undefined
  return (
    <Stack>
      <Modal.Title fz="lg" fw={650}>{`${t.verbs[wish.verb]} ${wish.name}?`}</Modal.Title>
      <Text size="sm">{t.ask[wish.verb]}</Text>
      {concerns && users.length > 0 && <Text size="sm">{concerns(users.join(', '))}</Text>}
      {blind(wish.verb, wish.name) && (
        <Alert color="yellow" variant="light" icon={<Icon name="warning" />}>
          {t.askBlind}
        </Alert>
      )}
      <Command line={`carbonado component ${wish.verb} ${wish.name}`} />
      {going.error && <Problem error={going.error} />}
      <Group justify="flex-end">
        <Button variant="default" onClick={leave} data-autofocus>
          {t.cancel}
        </Button>
        <Button color={ends || wish.verb === 'restart' ? 'red.9' : undefined} loading={going.isPending} onClick={() => going.mutate(wish)}>
          {t.verbs[wish.verb]}
        </Button>
      </Group>
    </Stack>
  )
}
