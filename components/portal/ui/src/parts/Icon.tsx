import type { CSSProperties } from 'react'

// Paths on a grid of 24, drawn as lines.
const paths = {
  check: 'M5 12.5l4.5 4.5L19 7.5',
  cross: 'M6 6l12 12M18 6L6 18',
  pause: 'M9 5v14M15 5v14',
  dots: 'M5 12h.01M12 12h.01M19 12h.01',
  warning: 'M12 8v5M12 16.5v.01M12 3l10 18H2z',
  restart: 'M20 11a8 8 0 1 0-2.3 6.3M20 5v6h-6',
  right: 'M9 5l7 7-7 7',
  down: 'M5 9l7 7 7-7',
  sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2v2M12 20v2M4.9 4.9l1.4 1.4M17.7 17.7l1.4 1.4M2 12h2M20 12h2M4.9 19.1l1.4-1.4M17.7 6.3l1.4-1.4',
  moon: 'M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5z',
  user: 'M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8M4 21c0-4 3.6-6 8-6s8 2 8 6',
  search: 'M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13M15.5 15.5L21 21',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
}

export type IconName = keyof typeof paths

/** Icon is decoration: what it means is always written beside it, or is the label of its button. */
export function Icon({ name, size = 16, style }: { name: IconName; size?: number; style?: CSSProperties }) {
  return (
    <svg aria-hidden="true" width={size} height={size} viewBox="0 0 24 24" fill="none" stroke="currentColor" strokeWidth={name === 'dots' ? 3.5 : 2} strokeLinecap="round" strokeLinejoin="round" style={{ flex: 'none', ...style }}>
      <path d={paths[name]} />
    </svg>
  )
}

export function Mark({ size = 26 }: { size?: number }) {
  return (
    <svg aria-hidden="true" width={size} height={size} viewBox="0 0 32 32">
      <path d="M16 2 29 9.5v13L16 30 3 22.5v-13z" fill="#0b7285" />
      <path d="M16 7.5 24 12v8l-8 4.5L8 20v-8z" fill="none" stroke="#fff" strokeWidth="2.5" strokeLinejoin="round" />
      <circle cx="16" cy="16" r="2.6" fill="#fff" />
    </svg>
  )
}
