import { useEffect } from 'react'
import { text } from '../text'

/** useTitle names the browser's tab. */
export function useTitle(title: string) {
  useEffect(() => {
    document.title = `${title} · ${text.product}`
  }, [title])
}
