import react from '@vitejs/plugin-react'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  plugins: [react()],
  // web.go replaces the word by the nonce of each answer.
  html: { cspNonce: 'CARBONADO-NONCE' },
  build: {
    target: 'es2022',
    assetsDir: 'assets',
    // Inlined files would need data: in more places of the policy than images.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 800,
    license: { fileName: 'assets/licenses.md' },
  },
  test: { environment: 'node', include: ['src/**/*.test.ts'] },
})
