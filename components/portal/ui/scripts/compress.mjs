// Writes .br and .gz beside every asset that gets smaller by it.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'

const folder = new URL('../dist/assets/', import.meta.url)
for (const name of readdirSync(folder)) {
  if (!/\.(js|css|svg|md)$/.test(name)) continue
  const body = readFileSync(new URL(name, folder))
  const forms = {
    br: brotliCompressSync(body, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }),
    gz: gzipSync(body, { level: 9 }),
  }
  for (const [suffix, form] of Object.entries(forms)) {
    if (form.length < body.length) writeFileSync(new URL(`${name}.${suffix}`, folder), form)
  }
}
