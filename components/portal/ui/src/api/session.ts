// Who is signed in, and signing in and out.
import { queryOptions } from '@tanstack/react-query'
import { post, request } from './http'

export interface Me {
  user: string
  roles: string[]
  permissions: string[]
  via: string
}

export const meQuery = queryOptions({
  queryKey: ['me'],
  queryFn: ({ signal }) => request<Me>('/identity/me', { signal }),
  staleTime: 60_000,
  retry: false,
})

function form(fields: Record<string, string>): RequestInit {
  return { method: 'POST', body: new URLSearchParams(fields) }
}

/** signIn opens a session with a password. */
export const signIn = (username: string, password: string) => request<unknown>('/signin', form({ username, password }))

/** signInOnce opens a session with the token of a one-time link. */
export const signInOnce = (token: string) => request<unknown>('/signin', form({ token }))

export const signOut = () => request<unknown>('/signout', form({}))

export const changePassword = (current: string, next: string) => post<unknown>('/identity/password', { current, new: next })

/** localPath keeps a redirect inside this site: anything else leads to the first page. */
export function localPath(to: string | undefined): string {
  if (!to || !/^\/(?![/\\])/.test(to) || /[\u0000-\u001f\\]/.test(to)) return '/'
  return to.startsWith('/login') ? '/' : to
}

/** granted says whether a permission or one above it is held. */
export function granted(me: Me | undefined, permission: string): boolean {
  return (me?.permissions ?? []).some(p => p === '/' || p === permission || permission.startsWith(`${p}/`))
}
