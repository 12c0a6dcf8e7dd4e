// Requests to the gateway, and the errors it answers. It must not know what is asked.

/** Cause as every part of the server prints it. */
export interface Cause {
  code: string
  text: string
  chain: Cause[]
  fix: string
  file?: string
  line?: number
  column?: number
}

/** ApiError is an answer that says why something was refused, or that no answer came. */
export class ApiError extends Error {
  readonly status: number
  readonly cause: Cause

  constructor(status: number, cause: Cause) {
    super(cause.text)
    this.status = status
    this.cause = cause
  }
}

/** causeOf reads the cause of an error's body; bodies without one become a cause of the page's own. */
export function causeOf(status: number, body: unknown): Cause {
  if (typeof body === 'object' && body !== null) {
    const { cause, message, detail, code, text } = body as Record<string, unknown>
    if (typeof cause === 'object' && cause !== null && typeof (cause as Cause).code === 'string') {
      return complete(cause as Partial<Cause>)
    }
    if (typeof code === 'string' && typeof text === 'string') return complete(body as Partial<Cause>)
    const said = [message, detail].find(t => typeof t === 'string' && t !== '')
    if (said) return complete({ code: `HTTP ${status}`, text: said as string })
  }
  return complete({ code: `HTTP ${status}`, text: `The server answered ${status} without saying why.` })
}

function complete(cause: Partial<Cause>): Cause {
  return { ...cause, code: cause.code ?? '', text: cause.text ?? '', fix: cause.fix ?? '', chain: (cause.chain ?? []).map(complete) }
}

const unreachable: Cause = {
  code: 'UI-001',
  text: 'The server does not answer.',
  fix: 'See on the node whether it runs: carbonado status',
  chain: [],
}

/** request asks for JSON. It throws an ApiError for every answer but 2xx, and when none comes within 30 seconds. */
export async function request<T>(path: string, init: RequestInit = {}): Promise<T> {
  let response: Response
  let body: unknown
  try {
    response = await fetch(path, {
      ...init,
      headers: { Accept: 'application/json', ...init.headers },
      credentials: 'same-origin',
      redirect: 'error',
      signal: init.signal ?? AbortSignal.timeout(30_000),
    })
    const text = await response.text()
    body = parse(text)
  } catch (error) {
    if (init.signal?.aborted) throw error
    throw new ApiError(0, unreachable)
  }
  if (!response.ok) throw new ApiError(response.status, causeOf(response.status, body))
  return body as T
}

function parse(text: string): unknown {
  if (text === '') return undefined
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** post sends a JSON object. */
export function post<T>(path: string, body: unknown, signal?: AbortSignal): Promise<T> {
  return request<T>(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body), signal })
}
