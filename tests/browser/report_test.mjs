// Reports of real runs in Chromium: every chart is drawn, with the numbers of summary.json; nothing is
// fetched, nothing complains, everything can be reached with the keyboard. Screenshots stay in
// screenshots/.
import assert from 'node:assert/strict';
import {execFileSync, spawnSync} from 'node:child_process';
import {existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync}
  from 'node:fs';
import {join} from 'node:path';
import {after, before, test} from 'node:test';
import {pathToFileURL} from 'node:url';
import {chromium} from 'playwright-core';

const program = process.env.KVHAUL_PROGRAM, source = process.env.KVHAUL_SOURCE;
const work = process.cwd(), runs = join(work, 'runs'), shots = join(work, 'screenshots');
const trace = join(source, 'traces/samples/chat-200.csv');
const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const faults = `seed: 7
faults:
  - {kind: down, where: node0/nic3, from: 4 s, until: 8 s}
  - {kind: degrade, where: node0/nic1/tx, from: 9 s, until: 1 min, factor: 0.25}
  - {kind: down, where: node0/nic5, from: 2 h}
  - {kind: fail, probability: 0.002}
`;

let context, profile;
const kvhaul = (...words) => execFileSync(program, words, {encoding: 'utf8', cwd: work});
const directory = name => join(runs, name);
const summary = name => JSON.parse(readFileSync(join(directory(name), 'summary.json'), 'utf8'));
const rows_of = path => {
  const [head, ...lines] = readFileSync(path, 'utf8').trimEnd().split('\n').map(l => l.split(','));
  return lines.map(line => Object.fromEntries(head.map((name, i) => [name, line[i]])));
};
const near = (found, expected, relative, what) => assert.ok(
  Math.abs(found - expected) <= relative * Math.max(Math.abs(expected), 1e-12),
  `${what}: expected ${expected}, found ${found}`);

before(async () => {
  for (const folder of [runs, shots]) rmSync(folder, {recursive: true, force: true});
  for (const folder of [runs, shots]) mkdirSync(folder);
  writeFileSync(join(work, 'faults.yaml'), faults);
  const replay = (name, ...more) => kvhaul('replay', '-q', '-t', trace, '-s', 'dgx-h100-pair', '-o',
    directory(name), ...more);
  replay('streamed');
  replay('whole', '--streaming', 'request', '--speedup', '6');
  replay('robin', '--streaming', 'request', '--speedup', '6', '-p', 'round_robin');
  replay('faults', '--streaming', 'request', '--speedup', '3', '--faults', 'faults.yaml');
  kvhaul('compare', directory('whole'), directory('robin'), '--report', join(runs, 'compare.html'));
  kvhaul('sweep', '-q', '-t', trace, '-s', 'dgx-h100-pair', '-o', directory('sweep'), '--set',
    'cluster.node_types.dgx_h100.nics.count=1,2,4,8', '--set', '@streaming=request,chunk_layer');
  // Where the program was built with SimGrid.
  spawnSync(program, ['replay', '-q', '-t', trace, '-s', 'gb200-nvl72', '-b', 'simgrid', '-o',
    directory('nvl72')]);
  profile = mkdtempSync(join(work, 'profile-'));
  context = await chromium.launchPersistentContext(profile,
    {executablePath: process.env.KVHAUL_CHROMIUM, headless: true, args: flags});
});
after(async () => {
  await context?.close();
  if (profile) rmSync(profile, {recursive: true, force: true});
});

// Opens a file, and fails when the page logs an error, throws, or asks for anything else.
async function opened(file, {width = 1100, scheme = 'light'} = {}) {
  const page = await context.newPage();
  const complaints = [];
  page.on('console', message => ['error', 'warning'].includes(message.type()) &&
    complaints.push(message.text()));
  page.on('pageerror', error => complaints.push(error.message));
  page.on('request', request => request.url() !== pathToFileURL(file).href &&
    !request.url().startsWith('data:') && complaints.push('asked for ' + request.url()));
  await page.setViewportSize({width, height: 900});
  await page.emulateMedia({colorScheme: scheme});
  await page.goto(pathToFileURL(file).href);
  assert.equal(await page.evaluate(() => document.documentElement.dataset.drawn), 'yes',
    complaints.join('; '));
  return {page, complaints};
}
async function closed({page, complaints}) {
  await page.close();
  assert.deepEqual(complaints, []);
}
// What D3 bound to the marks of a chart, with where they stand.
const marks = (page, chart, selector = '.mark') => page.evaluate(([id, what]) =>
  [...document.querySelectorAll(`#${id}-chart ${what}`)].map(mark => {
    const box = mark.getBBox();
    return {data: mark.__data__, x: box.x, y: box.y, width: box.width, height: box.height};
  }), [chart, selector]);

const reports = {
  streamed: () => join(directory('streamed'), 'report.html'),
  faults: () => join(directory('faults'), 'report.html'),
  compare: () => join(runs, 'compare.html'),
  sweep: () => join(directory('sweep'), 'report.html'),
  nvl72: () => join(directory('nvl72'), 'report.html'),
};
for (const [name, file_of] of Object.entries(reports))
  test(`${name}: drawn whole, light and dark, on a desk and on a phone`, async t => {
    const file = file_of();
    if (name === 'nvl72' && !existsSync(file)) return t.skip('built without SimGrid');
    assert.ok(statSync(file).size < 2e6, 'a report is smaller than 2 MB');
    for (const scheme of ['light', 'dark'])
      for (const width of [1100, 390]) {
        const view = await opened(file, {width, scheme});
        const {page} = view;
        assert.ok((await page.textContent('#sentence')).endsWith('.'));
        assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth),
          'the page does not scroll sideways');
        const charts = await page.evaluate(() => [...document.querySelectorAll('figure.chart')]
          .map(figure => ({id: figure.id, rows: figure.querySelectorAll('tbody tr').length,
            marks: [...figure.querySelectorAll('.mark')].map(mark => mark.getBBox())
              .map(box => [box.x, box.y, box.width, box.height]),
            size: figure.querySelector('svg[tabindex]').viewBox.baseVal.width})));
        assert.ok(charts.length >= (name === 'sweep' ? 6 : 4));
        for (const chart of charts) {
          assert.ok(chart.marks.length > 0, `${chart.id} has marks`);
          assert.ok(chart.rows > 0, `${chart.id} has a table`);
          for (const box of chart.marks)
            assert.ok(box.every(Number.isFinite) && box[0] >= -1 && box[0] + box[2] <= chart.size + 1,
              `${chart.id} stays inside: ${box}`);
        }
        await page.screenshot({path: join(shots, `${name}-${scheme}-${width}.png`), fullPage: true});
        await closed(view);
      }
  });

for (const name of ['streamed', 'faults'])
  test(`${name}: the charts show what summary.json says`, async () => {
    const s = summary(name);
    const view = await opened(reports[name]());
    const {page} = view;

    // Bands of requests: their means together give the mean, and heights follow the values.
    const bars = await marks(page, 'ttft');
    const data = await page.evaluate(() => JSON.parse(document.getElementById('data').textContent));
    const counts = Object.fromEntries(data.ttft.bands.map((b, i) =>
      [[...new Set(bars.map(bar => bar.data.band))][i], b.count]));
    assert.equal(Object.values(counts).reduce((a, b) => a + b), s.requests.completed);
    for (const [part, key] of [['queue', 'queue_ms'], ['prefill', 'prefill_ms'],
      ['exposed transfer', 'exposed_transfer_ms']]) {
      const mine = bars.filter(bar => bar.data.part === part);
      const sum = mine.reduce((total, bar) => total + bar.data.value * counts[bar.data.band], 0);
      near(sum / s.requests.completed, s[key].mean, 1e-4, `mean ${part}`);
    }
    const tallest = bars.reduce((a, b) => a.height > b.height ? a : b);
    for (const bar of bars)
      assert.ok(Math.abs(bar.height - tallest.height * bar.data.value / tallest.data.value) < 0.5);

    // Transfers by size: the medians, on a logarithmic axis.
    const dots = await marks(page, 'sizes');
    assert.deepEqual(dots.map(d => d.data.value), s.transfers.by_size.map(b => b.p50_ms));
    assert.equal(s.transfers.by_size.reduce((sum, b) => sum + b.count, 0), s.transfers.delivered);
    const [low, high] = [dots.reduce((a, b) => a.data.value < b.data.value ? a : b),
      dots.reduce((a, b) => a.data.value > b.data.value ? a : b)];
    for (const dot of dots) {
      const along = Math.log(dot.data.value / low.data.value) /
        Math.log(high.data.value / low.data.value || Math.E);
      assert.ok(Math.abs(dot.y - (low.y + along * (high.y - low.y))) < 0.5);
    }
    const [ideal] = await marks(page, 'sizes', '.ideal');
    assert.equal(ideal.data.length, dots.length);

    // Links: the busiest bin of every row, and bytes through the whole of the first one.
    const cells = await marks(page, 'heat');
    for (const link of s.links.slice(0, 32)) {
      const mine = cells.filter(cell => cell.data.link === link.link);
      near(Math.max(...mine.map(cell => cell.data.value)), link.peak_utilisation, 1e-3, link.link);
    }
    const first = rows_of(join(directory(name), 'links.csv')).filter(r => r.link === s.links[0].link);
    const of_first = cells.filter(cell => cell.data.link === s.links[0].link);
    assert.equal(of_first.length, first.filter(row => Number(row.utilisation) > 0).length);
    assert.ok(of_first.every(cell => cell.width > 0));

    // Time: every request and every chunk that was sent again is somewhere.
    const time = await marks(page, 'time', 'rect.mark');
    const sum_of = series => time.filter(m => m.data.series === series)
      .reduce((sum, m) => sum + m.data.value, 0);
    assert.equal(sum_of('requests arriving, per s'), s.requests.completed);
    assert.equal(sum_of('chunks sent again'), s.transfers.resent_chunks);
    const shaded = await marks(page, 'time', '.fault');
    assert.equal(shaded.length, name === 'faults' ? 3 : 0);  // one would begin after the end

    // The cluster: every line in colour has its link's load.
    const lines = await page.evaluate(() => [...document.querySelectorAll('#cluster .loaded')]
      .map(line => [line.dataset.link, parseFloat(line.style.getPropertyValue('--share'))]));
    const load = Object.fromEntries(s.links.map(link => [link.link, link.utilisation]));
    assert.ok(lines.length > 10);
    const most = Math.max(...lines.map(([link]) => load[link]));
    for (const [link, share] of lines) near(share, 100 * load[link] / most, 1e-3, link);

    // Words and tables.
    const text = await page.textContent('main');
    for (const route of s.routes) assert.ok(text.includes(route.kind));
    assert.ok(text.includes('kvhaul replay'), 'how to make it again');
    assert.equal(text.includes('-o '), false, 'where files went is not part of it');
    if (name === 'faults') {
      assert.ok(s.transfers.resent_chunks > 0, 'the fault file does something');
      assert.match(await page.textContent('#sentence'),
        new RegExp(`; ${s.transfers.resent_chunks} chunks were sent again`));
      assert.ok(text.includes('node0/nic3: down'));
    }
    await closed(view);
  });

test('everything can be reached and read with the keyboard', async () => {
  const view = await opened(reports.faults());
  const {page} = view;
  const wanted = await page.evaluate(() => {
    const all = [...document.querySelectorAll('svg[tabindex], summary, nav a')];
    all.forEach((node, i) => node.dataset.number = i);
    return all.length;
  });
  const reached = new Set();
  for (let i = 0; i < 4 * wanted; ++i) {
    await page.keyboard.press('Tab');
    const at = await page.evaluate(() => document.activeElement.dataset.number ?? null);
    if (at !== null) reached.add(at);
  }
  assert.equal(reached.size, wanted);
  for (const id of ['ttft', 'sizes', 'heat', 'time']) {
    const tip = page.locator(`#${id}-chart .tip`);
    await page.locator(`#${id}-chart svg[tabindex]`).focus();
    await page.keyboard.press('ArrowRight');
    const first = await tip.textContent();
    assert.ok(first.length > 5, id);
    await page.keyboard.press('ArrowRight');
    assert.notEqual(await tip.textContent(), first, id);
    await page.keyboard.press('Escape');
    assert.equal(await tip.textContent(), '', id);
    const summary_of = page.locator(`#${id}-chart summary`);
    await summary_of.focus();
    await page.keyboard.press('Enter');
    assert.ok(await page.locator(`#${id}-chart tbody tr`).first().isVisible(), id);
  }
  await closed(view);
});

test('pointing at a bar gives its numbers', async () => {
  const view = await opened(reports.streamed());
  const {page} = view;
  await page.locator('#ttft-chart rect.mark').last().scrollIntoViewIfNeeded();
  await page.locator('#ttft-chart svg[tabindex]').hover();
  assert.match(await page.locator('#ttft-chart .tip').textContent(), /requests\s+TTFT .*ms/);
  await closed(view);
});

test('on paper there is neither navigation nor a cut table', async () => {
  const view = await opened(reports.streamed());
  const {page} = view;
  await page.emulateMedia({media: 'print', colorScheme: 'dark'});
  assert.equal(await page.locator('nav').isVisible(), false);
  assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor),
    'rgb(255, 255, 255)');
  await page.pdf({path: join(shots, 'streamed.pdf'), format: 'A4'});
  await closed(view);
});

test('compare: the charts show what both summaries and compare --json say', async () => {
  const names = ['whole', 'robin'], both = names.map(summary);
  const view = await opened(reports.compare());
  const {page} = view;
  const parts = await marks(page, 'parts');
  for (const {data} of parts)
    assert.equal(data.value, both['AB'.indexOf(data.run)]
      [data.part.replace(' ', '_') + '_ms'].mean, `${data.run} ${data.part}`);
  const curves = await marks(page, 'ttft');
  assert.equal(curves.length, 2);
  curves.forEach(({data}, i) => near(data.points[50][1], both[i].ttft_ms.p50, 0.02, 'p50'));
  const told = JSON.parse(kvhaul('compare', ...names.map(directory), '--json')).runs[1];
  const [errors] = await marks(page, 'errors');
  const [median] = errors.data.points.filter(([, share]) => share === 50);
  near(median[0] / 100, told.transfer_pairs.duration_error.signed_median, 1e-4, 'signed median');
  const rows = await page.locator('#differences tbody tr').count();
  assert.equal(rows, Object.keys(told.figures).length);
  await closed(view);
});

test('sweep: every panel has the points of sweep.csv, and the knee is where the curve bends', async () => {
  const rows = rows_of(join(directory('sweep'), 'sweep.csv'));
  const view = await opened(reports.sweep());
  const {page} = view;
  for (const column of ['ttft_p50_ms', 'exposed_p99_ms', 'gbytes_per_s', 'utilisation']) {
    const lines = await marks(page, 'panel-' + column.replaceAll('_', '-'));
    assert.equal(lines.length, 2, column);
    lines.forEach(({data}, i) => assert.deepEqual(data.points.map(p => p[1]),
      rows.filter(row => row['@streaming'] === ['request', 'chunk_layer'][i])
        .map(row => Number(row[column])), column));
  }
  const knees = await marks(page, 'panel-exposed-p99-ms', '.knee');
  assert.ok(knees.length > 0);
  const curve = rows.filter(row => row['@streaming'] === 'request')
    .map(row => Number(row.exposed_p99_ms));
  const below = curve.map((value, i) => curve[0] + (curve.at(-1) - curve[0]) * i /
    (curve.length - 1) - value);
  assert.equal(knees[0].data.at, below.indexOf(Math.max(...below)));
  assert.equal(await page.locator('#points tbody tr').count(), rows.length);
  await closed(view);
});
