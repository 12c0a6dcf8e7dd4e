import { Button, Stack, Title } from '@mantine/core'
import { createRootRoute, createRoute, createRouter, lazyRouteComponent, Link, Outlet } from '@tanstack/react-router'
import { Problem } from './parts/Problem'
import { text } from './text'
import { Components, type Search } from './views/Components'
import { DashboardList, DashboardView, Start } from './views/Dashboards'
import type { Aspect } from './views/Focus'
import { Login } from './views/Login'
import { Password } from './views/Password'
import { Shell } from './views/Shell'

// Every view is a URL. web.go knows the first segments too.
const root = createRootRoute({ component: Outlet, notFoundComponent: NotFound, errorComponent: ({ error }) => <Problem error={error} /> })

const textOf = (value: unknown) => (typeof value === 'string' && value !== '' ? value : undefined)

const login = createRoute({
  getParentRoute: () => root,
  path: '/login',
  validateSearch: (search: Record<string, unknown>): { to?: string; token?: string } => ({ to: textOf(search.to), token: textOf(search.token) }),
  component: function View() {
    return <Login {...login.useSearch()} />
  },
})

const shell = createRoute({ getParentRoute: () => root, id: 'shell', component: Shell })
const start = createRoute({ getParentRoute: () => shell, path: '/', component: Start })
const list = createRoute({ getParentRoute: () => shell, path: '/dashboards', component: DashboardList })
const dashboard = createRoute({
  getParentRoute: () => shell,
  path: '/dashboards/$id',
  validateSearch: (search: Record<string, unknown>): { page?: string } => ({ page: textOf(search.page) }),
  component: function View() {
    return <DashboardView id={dashboard.useParams().id} page={dashboard.useSearch().page} />
  },
})
const components = createRoute({
  getParentRoute: () => shell,
  path: '/components',
  validateSearch: (search: Record<string, unknown>): Search => ({ show: textOf(search.show), find: textOf(search.find) }),
  component: function View() {
    const navigate = components.useNavigate()
    return <Components search={components.useSearch()} change={next => void navigate({ search: old => ({ ...old, ...next }), replace: true })} />
  },
})
// What looks closely comes when it is asked for.
const focus = createRoute({
  getParentRoute: () => shell,
  path: '/components/$name',
  validateSearch: (search: Record<string, unknown>): Aspect => ({ tab: textOf(search.tab), hops: textOf(search.hops) }),
  component: lazyRouteComponent(() => import('./views/Focus'), 'FocusView'),
})
const boot = createRoute({ getParentRoute: () => shell, path: '/boot', component: lazyRouteComponent(() => import('./views/Boot'), 'Boot') })
const code = createRoute({ getParentRoute: () => shell, path: '/errors/$code', component: lazyRouteComponent(() => import('./views/ErrorCode'), 'ErrorCode') })
const account = createRoute({ getParentRoute: () => shell, path: '/account', component: Password })

export const router = createRouter({
  routeTree: root.addChildren([login, shell.addChildren([start, list, dashboard, components, focus, boot, code, account])]),
  defaultPreload: false,
  // Search values are plain text: ?page=2 is the page "2".
  parseSearch: search => Object.fromEntries(new URLSearchParams(search)),
  stringifySearch: search => {
    const out = new URLSearchParams(Object.entries(search).filter((e): e is [string, string] => typeof e[1] === 'string')).toString()
    return out ? `?${out}` : ''
  },
})

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router
  }
}

function NotFound() {
  return (
    <Stack align="center" mt="xl" component="main">
      <Title order={1} size="h3">
        {text.error.notFound}
      </Title>
      <Button component={Link} to="/dashboards">
        {text.error.home}
      </Button>
    </Stack>
  )
}
