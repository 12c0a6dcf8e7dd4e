import { type CSSVariablesResolver, createTheme, type MantineColorsTuple } from '@mantine/core'

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
  // Within the landmark that it explains, not at the end of the page.
  components: { Tooltip: { defaultProps: { withinPortal: false } } },
})

/** Colours of charts: told apart by lightness too, so that they do not rest on hue alone. */
export const chartColors = {
  light: { series: ['#0b7285', '#d9730d', '#6741d9', '#2b8a3e'], text: '#495057', grid: '#e9ecef' },
  dark: { series: ['#41acc2', '#ffa94d', '#b197fc', '#69db7c'], text: '#c1c2c5', grid: '#373a40' },
}

/**
 * Mantine's dimmed, placeholder and error texts are too pale for WCAG AA on our grounds; and the palette of states, whose pairs
 * all have a contrast above 4.5.
 */
export const variables: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    '--mantine-color-dimmed': '#596066',
    '--mantine-color-placeholder': '#6b7278',
    '--mantine-color-error': '#c92a2a',
    '--good-ground': '#ddf3e1',
    '--good-text': '#17632b',
    '--busy-ground': '#fdeec7',
    '--busy-text': '#7a4b00',
    '--off-ground': '#e9ecef',
    '--off-text': '#495057',
    '--bad-ground': '#fde1e1',
    '--bad-text': '#a51111',
  },
  dark: {
    '--mantine-color-dimmed': '#a6a7ab',
    '--mantine-color-placeholder': '#909296',
    '--mantine-color-error': '#ff8787',
    '--good-ground': '#173a22',
    '--good-text': '#8ce99a',
    '--busy-ground': '#43330b',
    '--busy-text': '#ffd866',
    '--off-ground': '#3a3d42',
    '--off-text': '#ced4da',
    '--bad-ground': '#4a1c1c',
    '--bad-text': '#ffa8a8',
  },
})
