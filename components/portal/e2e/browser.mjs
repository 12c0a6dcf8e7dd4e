// A browser that notes what must not happen: errors, refused styles or scripts, outside hosts.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { chromium } from 'playwright-core'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

export class Failure extends Error {}

/** launch starts Chromium with what keeps it off the network but for the server. */
export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  })
}

/** open makes a page whose misdeeds are collected in page.misdeeds. `allowed` are substrings of console errors that a step provokes. */
export async function open(browser, origin, options = {}) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1440, height: 900 }, reducedMotion: 'reduce', ...options })
  const page = await context.newPage()
  page.misdeeds = []
  page.allowed = []
  page.on('pageerror', error => page.misdeeds.push(`error in the page: ${error.message}`))
  page.on('console', message => {
    const text = message.text()
    if (message.type() === 'error' && !page.allowed.some(a => text.includes(a))) page.misdeeds.push(`console: ${text}`)
  })
  page.on('request', request => {
    const { origin: to, protocol } = new URL(request.url())
    if (protocol.startsWith('http') && to !== origin) page.misdeeds.push(`request to ${to}`)
  })
  return page
}

/** accessible fails on any violation of WCAG 2.2 AA that axe finds. */
export async function accessible(page, what) {
  await page.evaluate(axe)
  const result = await page.evaluate(() => window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }))
  if (result.violations.length > 0) {
    const lines = result.violations.flatMap(v => v.nodes.map(n => `${v.id} (${v.impact}): ${n.target.join(' ')}\n    ${n.failureSummary.replaceAll('\n', '\n    ')}`))
    throw new Failure(`axe on ${what}:\n  ${lines.join('\n  ')}`)
  }
}

/** drawn says how many colours a canvas below a locator has: a blank one has one. */
export function drawn(locator) {
  return locator.locator('canvas').first().evaluate(canvas => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
    const colors = new Set()
    for (let i = 0; i < data.length; i += 4) colors.add((data[i] << 24) | (data[i + 1] << 16) | (data[i + 2] << 8) | data[i + 3])
    return colors.size
  })
}

/** until waits for a condition with a deadline and names it when it does not come. */
export async function until(what, seconds, condition) {
  const end = Date.now() + seconds * 1000
  for (;;) {
    const value = await condition()
    if (value) return value
    if (Date.now() > end) throw new Failure(`${what}: not within ${seconds} s`)
    await new Promise(resolve => setTimeout(resolve, 250))
  }
}
