// The views of the runtime: one component in focus, why it does not run, its start, and what is done to it.
import { accessible, until } from './browser.mjs'

/** steps look at a server. Only with `own`, a server made for this, is a process killed and something restarted. */
export function steps({ page, url, shot, expect, scheme, disabled, own }) {
  const focus = page.getByTestId('focus')
  const fact = async name => await focus.getAttribute(name)
  const narrow = () => page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth)
  // axe does not look into drawings: the names of lines must differ from what lies beneath them, and no ground of its own be there.
  const legible = async () => {
    const [text, ground, sheet] = await page.evaluate(() =>
      [['.react-flow__edge-text', 'fill'], ['.react-flow__edge-textbg', 'fill'], ['.react-flow', 'backgroundColor']].map(([s, p]) => getComputedStyle(document.querySelector(s))[p]),
    )
    const light = color => (color.match(/[\d.]+/g) ?? []).slice(0, 3).reduce((sum, c) => sum + Number(c), 0) / 3
    expect(Math.abs(light(text) - light(ground)) > 120, `the names of lines are ${text} on ${ground}`)
    expect(sheet === 'rgba(0, 0, 0, 0)', `the graph has the ground ${sheet}`)
  }
  const node = name => page.getByTestId(`node-${name}`)

  const list = [
    ['a component comes into focus, with what is near', async () => {
      await page.goto(`${url}/components`)
      await page.getByTestId('component-Portal').getByRole('link', { name: 'Portal', exact: true }).click()
      await node('Portal').waitFor()
      expect(new URL(page.url()).pathname === '/components/Portal', `the view of Portal is at ${page.url()}`)
      expect((await node('Portal').getAttribute('aria-current')) === 'page', 'the graph does not say which component is in focus')
      await node('DataService').waitFor()
      await until('the lines are drawn', 10, async () => (await page.locator('.react-flow__edge').count()) > 0)
      expect((await node('EventReceiver').count()) === 0, 'EventReceiver is no neighbour of Portal')
      await page.getByTestId('uses').getByText('carbonado.analytics.v1.RecordStore').first().waitFor()
      await accessible(page, 'a component in focus')
      await legible()
      await shot('focus-light')
    }],
    ['two steps around it are another URL', async () => {
      await page.getByText('Two steps', { exact: true }).click()
      await node('AnalyticsEngine').waitFor()
      expect(new URL(page.url()).search.includes('hops=2'), `two steps are at ${page.url()}`)
      await page.reload()
      await node('AnalyticsEngine').waitFor()
      await scheme('dark')
      await accessible(page, 'two steps around a component, in the dark')
      await legible()
      await shot('focus-dark')
      await scheme('light')
    }],
    ['a box leads on, by keyboard too', async () => {
      await page.goto(`${url}/components/Portal`)
      await node('DataService').waitFor()
      await node('DataService').focus()
      await page.keyboard.press('Enter')
      await until('DataService is in focus', 10, async () => (await fact('data-name')) === 'DataService')
      await node('EventSink').waitFor()
      await page.goto(`${url}/components/DataService`)
      await node('DataService').waitFor()
      const reached = new Set()
      for (let i = 0; i < 60; i++) {
        await page.keyboard.press('Tab')
        reached.add(await page.evaluate(() => document.activeElement?.dataset.testid || document.activeElement?.getAttribute('aria-label') || document.activeElement?.textContent?.trim()))
      }
      for (const want of ['Restart', 'Stop', 'Disable', 'node-DataService', 'node-EventSink', 'node-Portal', 'Wiring', 'Copy: carbonado graph DataService']) {
        expect(reached.has(want), `the keyboard does not reach ${want}; it reaches ${[...reached].join(' | ')}`)
      }
    }],
    ['history, start, configuration and limits are there', async () => {
      const tab = async (name, id) => {
        await page.getByRole('tab', { name }).click()
        await page.getByTestId(id).first().waitFor()
        await accessible(page, `the tab ${name}`)
        await shot(`focus-${name.toLowerCase()}`)
      }
      await tab('History', 'history')
      await tab('Start', 'waterfall')
      expect((await page.getByTestId('boot-DataService').locator('.bar-start').boundingBox()).width >= 3, 'the start of DataService has no bar')
      expect((await page.locator('[data-testid^=boot-][data-critical=true]').count()) > 0, 'no start is on the critical path')
      await page.getByTestId('critical').waitFor()
      await page.getByText('carbonado blame', { exact: true }).waitFor()
      await tab('Configuration', 'settings')
      await page.getByText('DataService.fsync', { exact: true }).waitFor()
      await tab('Limits', 'measures')
      const [all, held] = [await page.locator('[data-enforced]').count(), await page.locator('[data-enforced=true]').count()]
      console.log(`    ${held} of ${all} limits are enforced`)
      expect((await page.getByTestId('not-enforced').count()) === (held < all ? 1 : 0), 'what is not enforced is not said above')
      expect(new URL(page.url()).search.includes('tab=limits'), `the tab is at ${page.url()}`)
    }],
    ['the last start of all', async () => {
      await page.goto(`${url}/components`)
      await page.getByRole('link', { name: 'How the last start went' }).click()
      await page.getByTestId('boot-Portal').waitFor()
      await accessible(page, 'the last start')
      await scheme('dark')
      await accessible(page, 'the last start in the dark')
      await shot('boot')
      await scheme('light')
    }],
    ['on a phone', async () => {
      await page.setViewportSize({ width: 390, height: 844 })
      for (const path of ['/components/DataService', '/components/DataService?tab=limits', '/boot']) {
        await page.goto(`${url}${path}`)
        await page.getByRole('heading', { level: 1 }).waitFor()
        if (path !== '/boot') await node('DataService').waitFor()
        expect(!(await narrow()), `${path} is wider than a phone`)
        await accessible(page, `${path} on a phone`)
        if (path === '/components/DataService') await shot('focus-phone')
      }
      await page.setViewportSize({ width: 1440, height: 900 })
    }],
    ['an unknown component says so', async () => {
      page.allowed.push('404')
      await page.goto(`${url}/components/Nobody`)
      await page.getByTestId('problem').getByText('CBN-API-001').waitFor()
      // It is asked for again with each event, until the view is left.
      await page.goto(`${url}/components`)
      await page.getByTestId('component-Portal').waitFor()
      page.allowed.pop()
    }],
  ]

  if (disabled) {
    list.push(['why a component that a flag disables does not run', async () => {
      await page.goto(`${url}/components/${disabled}`)
      const why = page.getByTestId('why')
      await why.getByText(`-Ddisable${disabled}=true`).first().waitFor()
      expect((await fact('data-state')) === 'DISABLED', `${disabled} is ${await fact('data-state')}`)
      const code = why.getByRole('link', { name: 'CBN-PLAN-002' })
      await why.getByText('What to do').waitFor()
      await why.getByText(`Start without -Ddisable${disabled}=true`).waitFor()
      await why.getByText(`carbonado component diag ${disabled}`, { exact: true }).waitFor()
      await accessible(page, 'why a component does not run')
      await shot('why')
      await code.click()
      await page.getByTestId('meaning').waitFor()
      await page.getByText('carbonado error CBN-PLAN-002', { exact: true }).waitFor()
      await accessible(page, 'an entry of the error catalogue')
    }])
  }

  if (own) {
    // What the page shows of the states between is noted in the page itself, since they last for less than a look from here.
    const watch = () =>
      page.evaluate(() => {
        const element = document.querySelector('[data-testid=focus]')
        window.seen = [element.dataset.state]
        window.seenNear = []
        const note = (list, state) => state && list.at(-1) !== state && list.push(state)
        new MutationObserver(() => {
          note(window.seen, element.dataset.state)
          note(window.seenNear, document.querySelector('[data-testid=node-HTTPReceiver]')?.dataset.state)
        }).observe(element, { attributes: true, subtree: true, childList: true, attributeFilter: ['data-state'] })
      })
    const live = () => until('the page is live', 30, async () => (await page.getByTestId('live').getAttribute('data-live')) === 'live')

    list.push(
      ['a kill -9 goes by live', async () => {
        await page.goto(`${url}/components/HTTPReceiver?tab=history`)
        await node('HTTPReceiver').waitFor()
        await live()
        await page.locator('[data-testid=history] [data-to=ACTIVE]').first().waitFor()
        const pid = Number(await fact('data-pid'))
        const newest = Number(await page.locator('[data-testid=history] [data-seq]').first().getAttribute('data-seq'))
        expect(pid > 1, `HTTPReceiver has the process ${pid}`)
        await watch()
        process.kill(pid, 'SIGKILL')
        await until('HTTPReceiver serves again in a new process', 30, async () => (await fact('data-state')) === 'ACTIVE' && ![0, pid].includes(Number(await fact('data-pid'))))
        const [seen, near] = await page.evaluate(() => [window.seen, window.seenNear])
        console.log(`    seen ${seen.join(', ')}; in the graph ${near.join(', ')}`)
        expect(seen.includes('BACKOFF'), `the page showed ${seen.join(', ')} and no BACKOFF`)
        expect(near.includes('BACKOFF'), `the graph showed ${near.join(', ')} and no BACKOFF`)
        const row = page.locator('[data-testid=history] [data-to=BACKOFF]').first()
        await row.getByText('SIGKILL').waitFor()
        expect(Number(await row.getAttribute('data-seq')) > newest, 'the history shows an older crash')
        await shot('killed')
      }],
      ['one component restarts, the others stay', async () => {
        const pids = () => page.evaluate(() => fetch('/api/components', { headers: { Accept: 'application/json' } }).then(r => r.json()).then(all => Object.fromEntries(all.map(c => [c.name, c.pid]))))
        await page.goto(`${url}/components/AnalyticsExecution`)
        await node('AnalyticsExecution').waitFor()
        await live()
        const before = await pids()
        await page.getByRole('button', { name: 'Restart', exact: true }).click()
        const dialog = page.getByRole('dialog')
        await dialog.getByText('carbonado component restart AnalyticsExecution', { exact: true }).waitFor()
        await accessible(page, 'the question before a restart, in focus')
        await dialog.getByRole('button', { name: 'Restart', exact: true }).click()
        await dialog.waitFor({ state: 'detached', timeout: 60_000 })
        await until('the page shows the new process', 30, async () => ![0, before.AnalyticsExecution].includes(Number(await fact('data-pid'))) && (await fact('data-state')) === 'ACTIVE')
        const after = await pids()
        expect(Number(await fact('data-pid')) === after.AnalyticsExecution, `the page shows ${await fact('data-pid')}, the server has ${after.AnalyticsExecution}`)
        for (const name of Object.keys(before)) if (name !== 'AnalyticsExecution') expect(after[name] === before[name], `${name} has another process too`)
      }],
      ['a component is stopped and started', async () => {
        await page.goto(`${url}/components/AnalyticsExecution`)
        for (const [verb, ends] of [['Stop', 'RESOLVED'], ['Start', 'ACTIVE']]) {
          await page.getByRole('button', { name: verb, exact: true }).click()
          await page.getByRole('dialog').getByRole('button', { name: verb, exact: true }).click()
          await until(`after ${verb} it is ${ends}`, 60, async () => (await fact('data-state')) === ends)
          await page.getByRole('dialog').waitFor({ state: 'detached', timeout: 60_000 })
        }
      }],
      ['what the server refuses is shown with its cause', async () => {
        page.allowed.push('409')
        await page.goto(`${url}/components/${disabled}`)
        await page.getByRole('button', { name: 'Enable', exact: true }).click()
        await page.getByRole('dialog').getByRole('button', { name: 'Enable', exact: true }).click()
        await page.getByRole('dialog').getByTestId('problem').getByText('CBN-API-003').waitFor()
        await accessible(page, 'a refused change')
        await page.keyboard.press('Escape')
        page.allowed.pop()
      }],
    )
  }
  return list
}
