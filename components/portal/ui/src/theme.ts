import { createTheme, type MantineColorsTuple } from '@mantine/core'

// Graphite and petrol; each tuple from light to dark.
const petrol: MantineColorsTuple = ['#e6f7fa', '#cdeaf0', '#9dd5e0', '#69bfd0', '#41acc2', '#2aa0b9', '#0c8ca6', '#0b7285', '#075f70', '#024b5a']

export const theme = createTheme({
  primaryColor: 'petrol',
  primaryShade: { light: 7, dark: 5 },
  autoContrast: true,
  colors: { petrol },
  fontFamily: 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif',
  fontFamilyMonospace: 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace',
  defaultRadius: 'md',
  headings: { fontWeight: '650' },
})

/** Colours of charts: told apart by lightness too, so that they do not rest on hue alone. */
export const chartColors = {
  light: { series: ['#0b7285', '#d9730d', '#6741d9', '#2b8a3e'], text: '#495057', grid: '#e9ecef' },
  dark: { series: ['#41acc2', '#ffa94d', '#b197fc', '#69db7c'], text: '#c1c2c5', grid: '#373a40' },
}
