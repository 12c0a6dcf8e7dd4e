import '@mantine/core/styles.css'
import './page.css'
import { MantineProvider } from '@mantine/core'
import { QueryCache, QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { RouterProvider } from '@tanstack/react-router'
import { setNonce } from 'get-nonce'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { ApiError } from './api/http'
import { router } from './router'
import { theme, variables } from './theme'

// The server writes a nonce of its own into each answer; styles made by scripts carry it.
const nonce = document.querySelector<HTMLMetaElement>('meta[property="csp-nonce"]')?.nonce
// Dialogs stop the page from scrolling with a style of their own.
if (nonce) setNonce(nonce)

const client = new QueryClient({
  queryCache: new QueryCache({
    onError(error) {
      const { pathname, search } = window.location
      if (error instanceof ApiError && error.status === 401 && pathname !== '/login') {
        window.location.assign(`/login?to=${encodeURIComponent(pathname + search)}`)
      }
    },
  }),
  defaultOptions: {
    queries: { retry: (count, error) => count < 2 && error instanceof ApiError && (error.status === 0 || error.status >= 500), staleTime: 1000 },
  },
})

const root = document.getElementById('root')
if (root) {
  createRoot(root).render(
    <StrictMode>
      <MantineProvider theme={theme} cssVariablesResolver={variables} defaultColorScheme="auto" getStyleNonce={nonce ? () => nonce : undefined}>
        <QueryClientProvider client={client}>
          <RouterProvider router={router} />
        </QueryClientProvider>
      </MantineProvider>
    </StrictMode>,
  )
}
