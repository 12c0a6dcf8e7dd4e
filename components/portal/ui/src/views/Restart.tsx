import { Button, Group, Modal, Stack, Text } from '@mantine/core'
import { useMutation } from '@tanstack/react-query'
import { restart } from '../api/kernel'
import { Command } from '../parts/Command'
import { Problem } from '../parts/Problem'
import { text } from '../text'

const t = text.components

/** Restart asks before it restarts a component, and says how it went. */
export function Restart({ name, users, close }: { name?: string; users: string[]; close: () => void }) {
  const going = useMutation({ mutationFn: (n: string) => restart(n), onSuccess: close })
  const leave = () => {
    going.reset()
    close()
  }
  return (
    // Without Mantine's header of a dialog: it is a second banner to assistive technology.
    <Modal.Root opened={name !== undefined} onClose={leave} centered>
      <Modal.Overlay />
      <Modal.Content radius="lg">
        <Modal.Body p="lg">
          <Stack>
            <Modal.Title fz="lg" fw={650}>
              {name ? t.restartTitle(name) : ''}
            </Modal.Title>
            <Text size="sm">{t.restartText}</Text>
            {users.length > 0 && <Text size="sm">{t.restartUsers(users.join(', '))}</Text>}
            <Command line={`carbonado component restart ${name ?? ''}`} />
            {going.error && <Problem error={going.error} />}
            <Group justify="flex-end">
              <Button variant="default" onClick={leave} data-autofocus>
                {t.cancel}
              </Button>
              <Button color="red.9" loading={going.isPending} onClick={() => name && going.mutate(name)}>
                {t.restart}
              </Button>
            </Group>
          </Stack>
        </Modal.Body>
      </Modal.Content>
    </Modal.Root>
  )
}
