import { ActionIcon, Box, Button, Container, Group, Menu, Tooltip, useComputedColorScheme, useMantineColorScheme } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link, Outlet, useNavigate } from '@tanstack/react-router'
import { meQuery, signOut } from '../api/session'
import { Icon, Mark } from '../parts/Icon'
import { text } from '../text'

export function Shell() {
  const { data: me } = useQuery(meQuery)
  const navigate = useNavigate()
  const leave = async () => {
    try {
      await signOut()
    } finally {
      window.location.assign('/login')
    }
  }
  return (
    <Box className="page">
      <a className="skip" href="#content">
        {text.nav.skip}
      </a>
      <Box component="header" bg="var(--mantine-color-body)" style={{ borderBottom: '1px solid var(--mantine-color-default-border)', position: 'sticky', top: 0, zIndex: 100 }}>
        <Container size={1440}>
          <Group h={56} justify="space-between" wrap="nowrap">
            <Group gap="lg" wrap="nowrap" className="header-left">
              <Link to="/" className="brand">
                <Mark /> <span className="brand-name">{text.product}</span>
              </Link>
              <Group component="nav" gap={4} wrap="nowrap" aria-label={text.product}>
                <Link to="/dashboards" className="nav">
                  {text.nav.dashboards}
                </Link>
                <Link to="/components" className="nav">
                  {text.nav.components}
                </Link>
              </Group>
            </Group>
            <Group gap={4} wrap="nowrap">
              <Scheme />
              <Menu position="bottom-end" width={200}>
                <Menu.Target>
                  <Button variant="subtle" color="gray" c="inherit" leftSection={<Icon name="user" />} px="xs">
                    <span className="user-name">{me?.user ?? text.nav.account}</span>
                  </Button>
                </Menu.Target>
                <Menu.Dropdown>
                  <Menu.Item onClick={() => void navigate({ to: '/account' })}>{text.nav.password}</Menu.Item>
                  <Menu.Item onClick={() => void leave()}>{text.nav.signOut}</Menu.Item>
                </Menu.Dropdown>
              </Menu>
            </Group>
          </Group>
        </Container>
      </Box>
      <Container component="main" id="content" tabIndex={-1} size={1440} py="lg" style={{ outline: 'none' }}>
        <Outlet />
      </Container>
    </Box>
  )
}

function Scheme() {
  const { setColorScheme } = useMantineColorScheme()
  const dark = useComputedColorScheme('light') === 'dark'
  const label = dark ? text.nav.light : text.nav.dark
  return (
    <Tooltip label={label}>
      <ActionIcon variant="subtle" color="gray" c="inherit" size="lg" aria-label={label} onClick={() => setColorScheme(dark ? 'light' : 'dark')}>
        <Icon name={dark ? 'sun' : 'moon'} size={18} />
      </ActionIcon>
    </Tooltip>
  )
}
