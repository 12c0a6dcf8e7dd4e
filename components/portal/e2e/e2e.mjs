// The operator's day in a browser, against a running server. See run.sh for its settings.
import { mkdtempSync, mkdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { accessible, drawn, Failure, launch, open, until } from './browser.mjs'
import { steps as runtimeSteps } from './runtime.mjs'

const url = (process.env.CARBONADO_URL ?? 'https://localhost:9443').replace(/\/$/, '')
const user = process.env.CARBONADO_USER ?? 'admin'
const password = process.env.CARBONADO_PASSWORD ?? ''
const shots = process.env.CARBONADO_SHOTS ?? mkdtempSync(join(tmpdir(), 'carbonado-shots-'))
mkdirSync(shots, { recursive: true })

const browser = await launch()
const page = await open(browser, new URL(url).origin)

const shot = name => page.screenshot({ path: join(shots, `${name}.png`), fullPage: true })
const expect = (ok, what) => {
  if (!ok) throw new Failure(what)
}
async function scheme(name) {
  const toggle = page.getByRole('button', { name: name === 'dark' ? 'Use the dark colours' : 'Use the light colours' })
  await toggle.click()
  await page.locator(`html[data-mantine-color-scheme=${name}]`).waitFor()
  // The pointer leaves the button, or its tooltip would be in every picture.
  await page.mouse.move(0, 400)
}

const steps = [
  ['a stranger is led to the sign-in page', async () => {
    await page.goto(`${url}/dashboards/smart-home`)
    await page.getByLabel('User name').waitFor()
    expect(new URL(page.url()).pathname === '/login', `the sign-in page is at ${page.url()}`)
    await accessible(page, 'the sign-in page')
    await shot('sign-in')
  }],
  ['a wrong password is refused with its code', async () => {
    page.allowed.push('401')
    await page.getByLabel('User name').fill(user)
    await page.getByLabel('Password', { exact: true }).fill('not-the-password')
    await page.keyboard.press('Enter')
    await page.getByTestId('problem').getByText('CBN-ID-001').waitFor()
    await accessible(page, 'the refused sign-in')
    await shot('sign-in-refused')
    page.allowed.pop()
  }],
  ['the right password leads to the page that was asked for', async () => {
    page.allowed.push('404', '503')
    await page.getByLabel('Password', { exact: true }).fill(password)
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByRole('heading', { name: 'Smart Home', level: 1 }).waitFor()
    expect(new URL(page.url()).pathname === '/dashboards/smart-home', `after signing in: ${page.url()}`)
    const cookies = (await page.context().cookies()).filter(c => c.httpOnly && c.secure)
    expect(cookies.length > 0, 'the session has no cookie that is HttpOnly and Secure')
  }],
  ['the number, the bars and the line are drawn', async () => {
    // Tables come with the first event and the first run of the script.
    page.allowed.push('404', '503')
    const number = page.getByTestId('gadget-readings').getByTestId('number')
    await until('the number is above 0', 60, async () => (await number.count()) > 0 && Number(await number.getAttribute('data-value')) > 0)
    for (const chart of ['bar-chart', 'line-chart']) {
      const box = page.getByTestId(chart).first()
      await until(`${chart} has points`, 60, async () => (await box.count()) > 0 && Number(await box.getAttribute('data-points')) > 0)
      await until(`${chart} is drawn`, 10, async () => (await drawn(box)) > 2)
    }
    page.allowed.length = 0
  }],
  ['they move', async () => {
    const number = page.getByTestId('gadget-readings').getByTestId('number')
    const line = page.getByTestId('line-chart').first()
    const bars = page.getByTestId('bar-chart').first()
    const [n, l, b] = [Number(await number.getAttribute('data-value')), await line.getAttribute('data-summary'), await bars.getAttribute('data-summary')]
    await until('the number grows', 60, async () => Number(await number.getAttribute('data-value')) > n)
    await until('the line moves', 60, async () => (await line.getAttribute('data-summary')) !== l)
    await until('a bar moves', 90, async () => (await bars.getAttribute('data-summary')) !== b)
    await accessible(page, 'the dashboard')
    await shot('dashboard-light')
  }],
  ['dark, and on a phone', async () => {
    await scheme('dark')
    await until('the charts are drawn in the dark', 10, async () => (await drawn(page.getByTestId('bar-chart').first())) > 2)
    await accessible(page, 'the dashboard in the dark')
    await shot('dashboard-dark')
    await page.setViewportSize({ width: 390, height: 844 })
    await until('the charts are drawn on a phone', 10, async () => (await drawn(page.getByTestId('line-chart').first())) > 2)
    const wide = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth)
    expect(!wide, 'the dashboard is wider than a phone')
    await shot('dashboard-phone')
    await page.setViewportSize({ width: 1440, height: 900 })
  }],
  ['the components page is live and says why', async () => {
    await page.getByRole('link', { name: 'Components' }).click()
    await page.getByTestId('component-Portal').waitFor()
    await until('the page is live', 30, async () => (await page.getByTestId('live').getAttribute('data-live')) === 'live')
    const states = await page.locator('[data-testid^=component-]').evaluateAll(rows => rows.map(r => `${r.dataset.testid.slice(10)} ${r.dataset.state}`))
    console.log(`    ${states.join(', ')}`)
    expect(states.includes('Portal ACTIVE'), `Portal is not among the active ones: ${states}`)
    await accessible(page, 'the components in the dark')
    await shot('components-dark')
    await scheme('light')
    await page.getByText('carbonado component ls', { exact: true }).waitFor()
    await accessible(page, 'the components')
    await shot('components-light')
  }],
  ['a restart asks first, and a key takes it back', async () => {
    await page.getByRole('button', { name: 'Restart Portal' }).click()
    const dialog = page.getByRole('dialog')
    await dialog.getByText('carbonado component restart Portal', { exact: true }).waitFor()
    await accessible(page, 'the question before a restart')
    await page.screenshot({ path: join(shots, 'restart.png') })
    await page.keyboard.press('Escape')
    await dialog.waitFor({ state: 'detached' })
  }],
  ['the view is a URL', async () => {
    await page.goto(`${url}/components?show=running&find=port`)
    await page.getByTestId('component-Portal').waitFor()
    expect((await page.locator('[data-testid^=component-]').count()) === 1, 'the filter of the URL shows other components')
  }],
  ...runtimeSteps({ page, url, shot, expect, scheme, disabled: process.env.CARBONADO_DISABLED, own: process.env.CARBONADO_OWN === 'true' }),
  ['the keyboard reaches everything', async () => {
    await page.goto(`${url}/components`)
    await page.getByTestId('component-Portal').waitFor()
    await page.keyboard.press('Tab')
    expect((await page.evaluate(() => document.activeElement?.textContent)) === 'Skip to the content', 'the first stop of the keyboard is not the way past the header')
    const reached = new Set()
    for (let i = 0; i < 80; i++) {
      await page.keyboard.press('Tab')
      reached.add(await page.evaluate(() => document.activeElement?.getAttribute('aria-label') || document.activeElement?.textContent?.trim()))
    }
    for (const want of ['Dashboards', 'Components', 'Find a component', 'Portal', 'Restart Portal']) {
      expect(reached.has(want), `the keyboard does not reach ${want}; it reaches ${[...reached].join(' | ')}`)
    }
  }],
  ['an unknown page says so', async () => {
    page.allowed.push('404')
    const answer = await page.goto(`${url}/nowhere`)
    expect(answer.status() === 404, `an unknown page answers ${answer.status()}`)
    await page.getByText('There is no such page.').waitFor()
    page.allowed.pop()
  }],
  ['the password page', async () => {
    await page.goto(`${url}/account`)
    await page.getByLabel('New password', { exact: true }).fill('short')
    await accessible(page, 'the password page')
    await shot('password')
  }],
  ['signing out ends the session', async () => {
    await page.getByRole('button', { name: user }).click()
    await page.getByRole('menuitem', { name: 'Sign out' }).click()
    await page.getByLabel('User name').waitFor()
    page.allowed.push('401')
    const status = await page.evaluate(() => fetch('/api/components', { headers: { Accept: 'application/json' } }).then(r => r.status))
    expect(status === 401, `after signing out /api/components answers ${status}`)
    page.allowed.pop()
  }],
]

if (process.env.CARBONADO_LINK) {
  steps.push(['a one-time link signs in, once', async () => {
    await page.goto(process.env.CARBONADO_LINK)
    await page.getByRole('button', { name: 'Sign in with this link' }).waitFor()
    await accessible(page, 'the one-time link')
    await shot('one-time-link')
    await page.getByRole('button', { name: 'Sign in with this link' }).click()
    await page.getByRole('heading', { level: 1 }).filter({ hasNotText: 'Carbonado' }).waitFor()
    const again = await open(browser, new URL(url).origin)
    again.allowed.push('401')
    await again.goto(process.env.CARBONADO_LINK)
    await again.getByRole('button', { name: 'Sign in with this link' }).click()
    await again.getByTestId('problem').getByText('CBN-ID-007').waitFor()
    await again.context().close()
  }])
}

let failed = false
for (const [name, step] of steps) {
  page.misdeeds.length = 0
  try {
    await step()
    if (page.misdeeds.length > 0) throw new Failure(page.misdeeds.join('\n'))
    console.log(`ok   ${name}`)
  } catch (error) {
    failed = true
    console.log(`FAIL ${name}\n  ${error instanceof Failure ? error.message : error.stack}`)
    await shot('failure').catch(() => {})
    break
  }
}
await browser.close()
console.log(`screenshots in ${shots}`)
process.exit(failed ? 1 : 0)
