// Fails if the first load or a lazy chunk is too large. Sizes are those of gzip.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'

const firstLoad = 220 * 1024
const lazyChunk = 260 * 1024

const dist = new URL('../dist/', import.meta.url)
const size = name => {
  const packed = new URL(`assets/${name}.gz`, dist)
  return statSync(existsSync(packed) ? packed : new URL(`assets/${name}`, dist)).size
}
const index = readFileSync(new URL('index.html', dist), 'utf8')
const scripts = readdirSync(new URL('assets/', dist)).filter(name => name.endsWith('.js'))
const first = scripts.filter(name => index.includes(name))
const total = first.reduce((sum, name) => sum + size(name), 0)
console.log(`first load ${(total / 1024).toFixed(1)} KB gz of ${firstLoad / 1024}`)
let failed = total > firstLoad
for (const name of scripts.filter(name => !first.includes(name))) {
  console.log(`lazy ${name} ${(size(name) / 1024).toFixed(1)} KB gz of ${lazyChunk / 1024}`)
  failed ||= size(name) > lazyChunk
}
if (/https?:\/\//.test(index)) {
  console.error('index.html names an outside host')
  failed = true
}
process.exit(failed ? 1 : 0)
