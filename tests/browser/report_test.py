"""Reports of real runs in Chromium: every chart is drawn, with the numbers of summary.json; nothing is
fetched, nothing complains, everything can be reached with the keyboard. Screenshots stay in
screenshots/ of the current folder. run.sh sets the environment."""
import base64
import csv
import json
import math
import os
import re
import shutil
import subprocess
import tempfile
import time
import unittest
import xml.etree.ElementTree
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

PROGRAM, SOURCE = os.environ['KVHAUL_PROGRAM'], Path(os.environ['KVHAUL_SOURCE'])
WORK = Path.cwd()
RUNS, SHOTS, DOWNLOADS = WORK / 'runs', WORK / 'screenshots', WORK / 'saved'
TRACE = SOURCE / 'traces/samples/chat-200.csv'
FLAGS = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage',
         '--disable-quic', '--no-first-run', '--disable-background-networking',
         '--disable-component-update', '--disable-sync', '--hide-scrollbars']
FAULTS = '''seed: 7
faults:
  - {kind: down, where: node0/nic3, from: 4 s, until: 8 s}
  - {kind: degrade, where: node0/nic1/tx, from: 9 s, until: 1 min, factor: 0.25}
  - {kind: down, where: node0/nic5, from: 10 min}
  - {kind: fail, probability: 0.002}
'''
REPORTS = {
    'streamed': RUNS / 'streamed/report.html',
    'faults': RUNS / 'faults/report.html',
    'compare': RUNS / 'compare.html',
    'sweep': RUNS / 'sweep/report.html',
    'nvl72': RUNS / 'nvl72/report.html',
}


def kvhaul(*words):
    return subprocess.run([PROGRAM, *map(str, words)], check=True, cwd=WORK, encoding='utf8',
                          stdout=subprocess.PIPE).stdout


def summary(name):
    return json.loads((RUNS / name / 'summary.json').read_text())


def rows_of(path):
    with open(path, newline='', encoding='utf8') as file:
        return list(csv.DictReader(file))


def mean_of(summary, part):
    """Of a part of the time to first token as bars show it, in ms."""
    if part == 'waiting for decode':
        return summary['handover_ms']['mean'] - summary['exposed_transfer_ms']['mean']
    return summary[part.replace(' ', '_') + '_ms']['mean']


class Reports(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        for folder in (RUNS, SHOTS, DOWNLOADS):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        (WORK / 'faults.yaml').write_text(FAULTS)

        def replay(name, *more):
            kvhaul('replay', '-q', '-t', TRACE, '-s', 'dgx-h100-pair', '-o', RUNS / name, *more)
        replay('streamed')
        replay('whole', '--streaming', 'request', '--speedup', '6')
        replay('robin', '--streaming', 'request', '--speedup', '6', '-p', 'round_robin')
        replay('faults', '--streaming', 'request', '--speedup', '3', '--faults', 'faults.yaml')
        kvhaul('compare', RUNS / 'whole', RUNS / 'robin', '--report', REPORTS['compare'])
        kvhaul('sweep', '-q', '-t', TRACE, '-s', 'dgx-h100-pair', '-o', RUNS / 'sweep', '--set',
               'cluster.node_types.dgx_h100.nics.count=1,2,4,8', '--set',
               '@streaming=request,chunk_layer')
        # 3: the program was built without SimGrid.
        cls.nvl72 = subprocess.run(
            [PROGRAM, 'replay', '-q', '-t', TRACE, '-s', 'gb200-nvl72', '-b', 'simgrid', '-o',
             RUNS / 'nvl72'], check=False).returncode
        profile = tempfile.mkdtemp(dir=WORK, prefix='profile-')
        cls.addClassCleanup(shutil.rmtree, profile, ignore_errors=True)
        options = Options()
        options.binary_location = os.environ['KVHAUL_CHROMIUM']
        options.ignore_local_proxy_environment_variables()
        for flag in [*FLAGS, f'--user-data-dir={profile}']:
            options.add_argument(flag)
        options.set_capability('goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'})
        cls.browser = webdriver.Chrome(
            options=options, service=Service(os.environ['KVHAUL_CHROMEDRIVER'],
                                             log_path=str(WORK / 'chromedriver.log')))
        cls.addClassCleanup(cls.browser.quit)

    # ---- What the tests look through ------------------------------------------------------------

    def near(self, found, expected, relative, what):
        self.assertLessEqual(abs(found - expected), relative * max(abs(expected), 1e-12),
                             f'{what}: expected {expected}, found {found}')

    def complaints(self, file):
        """What the page has logged or asked for since the last call, but for itself."""
        found = [entry['message'] for entry in self.browser.get_log('browser')
                 if entry['level'] in ('WARNING', 'SEVERE')]
        for entry in self.browser.get_log('performance'):
            event = json.loads(entry['message'])['message']
            if event['method'] != 'Network.requestWillBeSent':
                continue
            url = event['params']['request']['url']
            if url == file.as_uri():
                self.asked += 1
            elif not url.startswith('data:'):
                found.append('asked for ' + url)
        return found

    def emulate_media(self, media='', scheme='light'):
        self.browser.execute_cdp_cmd('Emulation.setEmulatedMedia', {
            'media': media, 'features': [{'name': 'prefers-color-scheme', 'value': scheme}]})

    @contextmanager
    def opened(self, file, width=1100, scheme='light'):
        """A file in a tab of its own. Fails when the page logs an error, throws, or asks for
        anything else."""
        first = self.browser.current_window_handle
        self.browser.switch_to.new_window('tab')
        self.complaints(file)  # of tests before
        self.asked = 0
        self.browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', {
            'width': width, 'height': 900, 'deviceScaleFactor': 1, 'mobile': False})
        self.emulate_media(scheme=scheme)
        self.browser.get(file.as_uri())
        if self.ask('document.documentElement.dataset.drawn') != 'yes':
            self.fail('not drawn: ' + '; '.join(self.complaints(file)))
        yield
        self.assertEqual(self.complaints(file), [])
        self.assertEqual(self.asked, 1, 'requests are seen: that of the page itself')
        self.browser.close()
        self.browser.switch_to.window(first)

    def tearDown(self):
        self.leave_tabs()

    def leave_tabs(self):
        """A test that failed leaves its tab."""
        for handle in self.browser.window_handles[1:]:
            self.browser.switch_to.window(handle)
            self.browser.close()
        self.browser.switch_to.window(self.browser.window_handles[0])

    def ask(self, expression, *arguments):
        """The value of a JavaScript expression, in which `args` are the arguments."""
        text = self.browser.execute_script(
            f'const args = arguments; return JSON.stringify({expression})', *arguments)
        return None if text is None else json.loads(text)

    def text(self, selector):
        return self.ask('document.querySelector(args[0]).textContent', selector)

    def count(self, selector):
        return self.ask('document.querySelectorAll(args[0]).length', selector)

    def visible(self, selector):
        return self.ask('document.querySelector(args[0]).checkVisibility()', selector)

    def one(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def press(self, key):
        ActionChains(self.browser).send_keys(key).perform()

    def marks(self, chart, selector='.mark'):
        """What D3 bound to the marks of a chart, with where they stand."""
        return self.ask('''[...document.querySelectorAll(`#${args[0]}-chart ${args[1]}`)].map(mark => {
            const box = mark.getBBox();
            return {data: mark.__data__, x: box.x, y: box.y, width: box.width, height: box.height};
          })''', chart, selector)

    def shoot(self, name):
        size = self.browser.execute_cdp_cmd('Page.getLayoutMetrics', {})['cssContentSize']
        shot = self.browser.execute_cdp_cmd('Page.captureScreenshot', {
            'captureBeyondViewport': True, 'clip': {'x': 0, 'y': 0, 'width': size['width'],
                                                    'height': size['height'], 'scale': 1}})
        (SHOTS / name).write_bytes(base64.b64decode(shot['data']))

    # ---- The tests ------------------------------------------------------------------------------

    def test_a_page_that_complains_or_asks_for_more_is_noticed(self):
        file = WORK / 'complains.html'
        for script in ('console.warn("odd")', 'console.error("bad")', 'throw new Error("thrown")',
                       'new Image().src = "http://127.0.0.1:9/picture.png"', 'fetch("other.json")'):
            file.write_text(f'<html data-drawn="yes"><script>{script}</script></html>')
            with self.assertRaises(AssertionError, msg=script):
                with self.opened(file):
                    pass
            self.leave_tabs()

    def drawn_whole(self, name):
        file = REPORTS[name]
        self.assertLess(file.stat().st_size, 2e6, 'a report is smaller than 2 MB')
        for scheme in ('light', 'dark'):
            for width in (1100, 390):
                with self.opened(file, width, scheme):
                    self.assertTrue(self.text('#sentence').endswith('.'))
                    self.assertEqual(self.ask('innerWidth'), width)
                    self.assertEqual(
                        self.ask('matchMedia("(prefers-color-scheme: dark)").matches'),
                        scheme == 'dark')
                    self.assertTrue(self.ask('document.documentElement.scrollWidth <= innerWidth'),
                                    'the page does not scroll sideways')
                    charts = self.ask('''[...document.querySelectorAll('figure.chart')]
                        .map(figure => ({id: figure.id,
                          rows: figure.querySelectorAll('tbody tr').length,
                          marks: [...figure.querySelectorAll('.mark')].map(mark => mark.getBBox())
                            .map(box => [box.x, box.y, box.width, box.height]),
                          size: figure.querySelector('svg[tabindex]').viewBox.baseVal.width}))''')
                    self.assertGreaterEqual(len(charts), 6 if name == 'sweep' else 4)
                    self.assertEqual(self.ask('''[...document.querySelectorAll('svg .label')]
                        .filter(label => label.textContent.includes('…')).length'''), 0,
                                     'names are whole')
                    for chart in charts:
                        self.assertTrue(chart['marks'], f'{chart["id"]} has marks')
                        self.assertGreater(chart['rows'], 0, f'{chart["id"]} has a table')
                        for box in chart['marks']:
                            # JSON makes null of what is not finite.
                            self.assertTrue(
                                None not in box and box[0] >= -1
                                and box[0] + box[2] <= chart['size'] + 1,
                                f'{chart["id"]} stays inside: {box}')
                    self.shoot(f'{name}-{scheme}-{width}.png')

    def test_streamed_is_drawn_whole_light_and_dark_on_a_desk_and_on_a_phone(self):
        self.drawn_whole('streamed')

    def test_faults_is_drawn_whole_light_and_dark_on_a_desk_and_on_a_phone(self):
        self.drawn_whole('faults')

    def test_compare_is_drawn_whole_light_and_dark_on_a_desk_and_on_a_phone(self):
        self.drawn_whole('compare')

    def test_sweep_is_drawn_whole_light_and_dark_on_a_desk_and_on_a_phone(self):
        self.drawn_whole('sweep')

    def test_nvl72_is_drawn_whole_light_and_dark_on_a_desk_and_on_a_phone(self):
        if self.nvl72 == 3:
            self.skipTest('built without SimGrid')
        self.assertEqual(self.nvl72, 0)
        self.drawn_whole('nvl72')

    def charts_show_the_summary(self, name):
        s = summary(name)
        with self.opened(REPORTS[name]):
            # Bands of requests: their means together give the mean, and heights follow the values.
            bars = self.marks('ttft')
            bands = self.ask('JSON.parse(document.getElementById("data").textContent)')['ttft']['bands']
            names = list(dict.fromkeys(bar['data']['band'] for bar in bars))
            counts = {names[i]: band['count'] for i, band in enumerate(bands)}
            self.assertEqual(sum(counts.values()), s['requests']['completed'])
            for part in ('queue', 'prefill', 'exposed transfer', 'waiting for decode'):
                total = sum(bar['data']['value'] * counts[bar['data']['band']] for bar in bars
                            if bar['data']['part'] == part)
                self.near(total / s['requests']['completed'], mean_of(s, part), 1e-4,
                          f'mean {part}')
            tallest = max(bars, key=lambda bar: bar['height'])
            for bar in bars:
                self.assertLess(abs(bar['height'] - tallest['height'] * bar['data']['value']
                                    / tallest['data']['value']), 0.5)

            # Transfers by size: the medians, on a logarithmic axis.
            dots = self.marks('sizes')
            by_size = s['transfers']['by_size']
            self.assertEqual([dot['data']['value'] for dot in dots], [b['p50_ms'] for b in by_size])
            self.assertEqual(sum(b['count'] for b in by_size), s['transfers']['delivered'])
            low = min(dots, key=lambda dot: dot['data']['value'])
            high = max(dots, key=lambda dot: dot['data']['value'])
            span = math.log(high['data']['value'] / low['data']['value']) or 1
            for dot in dots:
                along = math.log(dot['data']['value'] / low['data']['value']) / span
                self.assertLess(abs(dot['y'] - (low['y'] + along * (high['y'] - low['y']))), 0.5)
            [ideal] = self.marks('sizes', '.ideal')
            self.assertEqual(len(ideal['data']), len(dots))

            # Links: the busiest bin of every row, and bytes through the whole of the first one.
            cells = self.marks('heat')
            for link in s['links'][:32]:
                self.near(max(cell['data']['value'] for cell in cells
                              if cell['data']['link'] == link['link']),
                          link['peak_utilisation'], 1e-3, link['link'])
            busiest = s['links'][0]['link']
            first = [row for row in rows_of(RUNS / name / 'links.csv') if row['link'] == busiest]
            of_first = [cell for cell in cells if cell['data']['link'] == busiest]
            self.assertEqual(len(of_first), sum(float(row['utilisation']) > 0 for row in first))
            self.assertTrue(all(cell['width'] > 0 for cell in of_first))

            # Instances: one of each, bin by bin as in their file.
            rows = rows_of(RUNS / name / 'instances.csv')
            curves = self.marks('instances')
            self.assertEqual(len(curves), 9, 'five figures, of which prefill has no batch')
            for curve in curves:
                found = curve['data']
                expected = [float(row[found['series']] or 0) for row in rows
                            if row['role'] == found['role']]
                self.assertEqual(len(found['values']), len(expected))
                for value, other in zip(found['values'], expected):
                    self.near(value, other, 1e-3, found['series'])
            for role in ('prefill', 'decode'):
                shown = self.text('#instances table')
                self.assertIn(f'{role} 0', shown)

            # Time: every request and every chunk that was sent again is somewhere.
            bars = self.marks('time', 'rect.mark')

            def sum_of(series):
                return sum(m['data']['value'] for m in bars if m['data']['series'] == series)
            self.assertEqual(sum_of('requests arriving, per s'), s['requests']['completed'])
            if name == 'faults':
                bars = self.marks('faults', 'rect.mark')
            self.assertEqual(sum_of('chunks sent again'), s['transfers']['resent_chunks'])
            # One of the faults would begin after the end.
            for chart in ('time', 'faults') if name == 'faults' else ('time',):
                self.assertEqual(len(self.marks(chart, '.fault')), 3 if name == 'faults' else 0)
            # Of what did not happen nothing is drawn.
            self.assertEqual(self.count('#faults-chart'), 1 if name == 'faults' else 0)
            if name != 'faults':
                self.assertEqual(self.text('#faults .note'),
                                 'No fault was played. No chunk was sent again.')

            # Colours and bars are shares of the whole rate, whatever the busiest link has.
            for cell in self.ask('''[...document.querySelectorAll('#heat-chart .mark')]
                    .map(mark => [mark.__data__.value, mark.style.fill])''')[:200]:
                found = re.fullmatch(r'color-mix\(in srgb, var\(--load\) ([0-9.e-]+)%, .*', cell[1])
                self.near(float(found[1]), 100 * cell[0], 1e-2, 'colour')
            for used, line, trough in self.ask('''[...document.querySelectorAll('#bottlenecks tbody tr')]
                    .map(row => row.cells[4]).map(cell => [parseFloat(cell.textContent.replace(
                        /^at most /, '')), cell.querySelector('i').getBoundingClientRect().width,
                      cell.getBoundingClientRect().width - 16])'''):
                self.assertLess(abs(line - max(2, trough * used / 100)), 0.5, used)

            # The cluster: every line in colour has its link's load.
            lines = self.ask('''[...document.querySelectorAll('#cluster .loaded')]
                .map(line => [line.dataset.link, parseFloat(line.style.getPropertyValue('--share'))])''')
            load = {link['link']: link['utilisation'] for link in s['links']}
            self.assertGreater(len(lines), 10)
            for link, share in lines:
                self.near(share, 100 * load[link], 1e-3, link)

            # The slowest requests: the twenty of requests.csv, and parts that add up.
            worst = sorted((row for row in rows_of(RUNS / name / 'requests.csv')
                            if row['outcome'] == 'completed'),
                           key=lambda row: (-float(row['ttft_ms']), int(row['request'])))[:20]
            shown = self.ask('JSON.parse(document.getElementById("data").textContent)')['slowest']
            self.assertEqual([r['request'] for r in shown], [int(row['request']) for row in worst])
            for found, row in zip(shown, worst):
                self.near(found['ttft_ms'], float(row['ttft_ms']), 1e-9, 'ttft')
                self.near(sum(found[key] for key in ('queue_ms', 'prefill_ms', 'memory_ms',
                                                     'exposed_ms', 'step_ms', 'seat_ms')),
                          found['ttft_ms'], 1e-9, 'sum of the parts')
                self.near(sum(found['exposed_parts_ms'].values()), found['exposed_ms'], 1e-9,
                          'sum of the exposed parts')
            self.assertEqual(self.count('#slowest tbody tr'), 20)
            self.assertIn(f'request {worst[0]["request"]}', self.text('#slowest'))
            self.assertIn(f'"request {worst[0]["request"]}"',
                          (RUNS / name / 'timeline.json').read_text(), 'the track that is named')

            # Each fault that was played, and what it did.
            rows = self.ask('''[...document.querySelectorAll('#faults > .scroll tbody tr')]
                .map(row => [...row.cells].map(cell => cell.textContent))''')
            self.assertEqual(len(rows), 4 if name == 'faults' else 0)
            if name == 'faults':
                self.assertEqual([row[0] for row in rows], [f['fault'] for f in s['faults']])
                self.assertEqual(rows[0][1:4], ['4\u00a0s', '8\u00a0s', '1'])
                self.assertEqual([int(row[4].replace('\u202f', '')) for row in rows],
                                 [f['chunks'] for f in s['faults']])
                self.assertEqual(rows[2][1:], ['never', '', '0', '0', 'never began'])
                self.assertGreater(s['faults'][1]['chunks'], 0)

            # Words and tables.
            text = self.text('main')
            for route in s['routes']:
                self.assertIn(route['kind'], text)
            self.assertIn('kvhaul replay', text, 'how to make it again')
            self.assertNotIn('-o ', text, 'where files went is not part of it')
            if name == 'faults':
                resent = s['transfers']['resent_chunks']
                self.assertGreater(resent, 0, 'the fault file does something')
                self.assertIn(f'; {resent} chunks were sent again', self.text('#sentence'))
                self.assertIn('node0/nic3: down', text)

    def test_charts_of_streamed_show_what_summary_json_says(self):
        self.charts_show_the_summary('streamed')

    def test_charts_of_faults_show_what_summary_json_says(self):
        self.charts_show_the_summary('faults')

    def test_everything_can_be_reached_and_read_with_the_keyboard(self):
        with self.opened(REPORTS['faults']):
            wanted = self.ask('''(() => {
                const all = [...document.querySelectorAll('svg[tabindex], summary, nav a')];
                all.forEach((node, i) => node.dataset.number = i);
                return all.length;
              })()''')
            reached = set()
            for _ in range(4 * wanted):
                self.press(Keys.TAB)
                at = self.ask('document.activeElement.dataset.number ?? null')
                if at is not None:
                    reached.add(at)
            self.assertEqual(len(reached), wanted)
            for chart in ('ttft', 'sizes', 'heat', 'time'):
                tip = f'#{chart}-chart .tip'
                self.browser.execute_script('document.querySelector(arguments[0]).focus()',
                                            f'#{chart}-chart svg[tabindex]')
                self.press(Keys.ARROW_RIGHT)
                first = self.text(tip)
                self.assertGreater(len(first), 5, chart)
                self.press(Keys.ARROW_RIGHT)
                self.assertNotEqual(self.text(tip), first, chart)
                self.press(Keys.ESCAPE)
                self.assertEqual(self.text(tip), '', chart)
                self.browser.execute_script('document.querySelector(arguments[0]).focus()',
                                            f'#{chart}-chart summary')
                self.assertFalse(self.visible(f'#{chart}-chart tbody tr'), chart)
                self.press(Keys.ENTER)
                self.assertTrue(self.visible(f'#{chart}-chart tbody tr'), chart)

    def saved(self, button, name):
        """The bytes of the file that a button gives."""
        self.browser.execute_script('arguments[0].click()', self.one(button))
        file = DOWNLOADS / name
        for _ in range(200):
            if file.exists():
                return file
            time.sleep(0.05)
        self.fail(f'{button} saves {name}, there are {os.listdir(DOWNLOADS)}')

    def test_a_chart_can_be_saved_and_looks_the_same_by_itself(self):
        self.browser.execute_cdp_cmd('Browser.setDownloadBehavior', {
            'behavior': 'allow', 'downloadPath': str(DOWNLOADS)})
        with self.opened(REPORTS['faults']):
            for chart in ('ttft', 'heat', 'cluster'):
                figure = '#cluster-picture' if chart == 'cluster' else f'#{chart}-chart'
                marks = self.count(f'{figure} .plot svg :is(rect, path, line, circle, text)')
                name = f'dgx-h100-pair-chat-200.csv-{chart}'
                svg = self.saved(f'{figure} .save button:first-of-type', name + '.svg')
                text = svg.read_text(encoding='utf8')
                for word in ('var(', 'color-mix', 'class=', 'href', 'url('):
                    self.assertNotIn(word, text)
                drawn = xml.etree.ElementTree.fromstring(text)
                found = [node for node in drawn.iter() if node.tag.split('}')[1] in
                         ('rect', 'path', 'line', 'circle', 'text')]
                self.assertGreaterEqual(len(found), marks)
                fills = {node.get('fill') for node in found}
                self.assertGreater(len(fills), 2, f'{chart}: colours are in the file: {fills}')
                png = self.saved(f'{figure} .save button:last-of-type', name + '.png').read_bytes()
                self.assertEqual(png[:8], b'\x89PNG\r\n\x1a\n')
                self.assertEqual(int.from_bytes(png[16:20], 'big'),
                                 int(2 * float(drawn.get('width'))))

    def test_axes_say_where_they_begin(self):
        with self.opened(REPORTS['sweep']):
            said = {chart: self.text(f'#panel-{chart}-chart .plot svg')
                    for chart in ('ttft-p50-ms', 'exposed-p50-ms', 'slo-attainment')}
            self.assertRegex(said['ttft-p50-ms'], r'from \d+\sms, not from 0')
            self.assertIn('logarithmic', said['exposed-p50-ms'])
            # What is equal is not looked at through a glass.
            self.assertRegex(said['slo-attainment'], '^(?!.*not from 0).*0%')
            # The curve that lies under the other one can be seen.
            widths = self.ask('''[...document.querySelectorAll(
                '#panel-slo-attainment-chart path.mark')].map(p => p.getAttribute('stroke-width'))''')
            self.assertGreater(float(widths[0]), float(widths[1]))

    def test_pointing_at_a_bar_gives_its_numbers(self):
        with self.opened(REPORTS['streamed']):
            self.browser.execute_script(
                '[...document.querySelectorAll("#ttft-chart rect.mark")].at(-1)'
                '.scrollIntoView({block: "center"})')
            ActionChains(self.browser).move_to_element(
                self.one('#ttft-chart svg[tabindex]')).perform()
            self.assertRegex(self.text('#ttft-chart .tip'), r'requests\s+TTFT .*ms')

    def test_on_paper_there_is_neither_navigation_nor_a_cut_table(self):
        with self.opened(REPORTS['streamed']):
            self.assertTrue(self.visible('nav'))
            self.emulate_media('print', 'dark')
            self.assertFalse(self.visible('nav'))
            self.assertEqual(self.ask('getComputedStyle(document.body).backgroundColor'),
                             'rgb(255, 255, 255)')
            paper = self.browser.execute_cdp_cmd('Page.printToPDF',
                                                 {'paperWidth': 8.27, 'paperHeight': 11.7})
            (SHOTS / 'streamed.pdf').write_bytes(base64.b64decode(paper['data']))

    def test_charts_of_compare_show_what_both_summaries_and_compare_json_say(self):
        names = ['whole', 'robin']
        both = [summary(name) for name in names]
        with self.opened(REPORTS['compare']):
            for mark in self.marks('parts'):
                data = mark['data']
                self.assertEqual(
                    data['value'],
                    mean_of(both['AB'.index(data['run'])], data['part']),
                    f'{data["run"]} {data["part"]}')
            curves = self.marks('ttft')
            self.assertEqual(len(curves), 2)
            for curve, run in zip(curves, both):
                self.near(curve['data']['points'][50][1], run['ttft_ms']['p50'], 0.02, 'p50')
            told = json.loads(kvhaul('compare', *[RUNS / name for name in names], '--json'))['runs'][1]
            errors = self.marks('errors')[0]
            [median] = [at for at, share in errors['data']['points'] if share == 50]
            self.near(median / 100, told['transfer_pairs']['duration_error']['signed_median'], 1e-4,
                      'signed median')
            self.assertEqual(self.count('#differences tbody tr'), len(told['figures']))

    def test_every_panel_of_sweep_has_the_points_of_sweep_csv_and_the_knee_where_the_curve_bends(self):
        rows = rows_of(RUNS / 'sweep/sweep.csv')
        with self.opened(REPORTS['sweep']):
            for column in ('ttft_p50_ms', 'exposed_p99_ms', 'gbytes_per_s', 'utilisation'):
                lines = self.marks('panel-' + column.replace('_', '-'))
                self.assertEqual(len(lines), 2, column)
                for line, streaming in zip(lines, ('request', 'chunk_layer')):
                    self.assertEqual([point[1] for point in line['data']['points']],
                                     [float(row[column]) for row in rows
                                      if row['@streaming'] == streaming], column)
            knees = self.marks('panel-exposed-p99-ms', '.knee')
            self.assertTrue(knees)
            curve = [float(row['exposed_p99_ms']) for row in rows if row['@streaming'] == 'request']
            below = [curve[0] + (curve[-1] - curve[0]) * i / (len(curve) - 1) - value
                     for i, value in enumerate(curve)]
            self.assertEqual(knees[0]['data']['at'], below.index(max(below)))
            self.assertEqual(self.count('#points tbody tr'), len(rows))


if __name__ == '__main__':
    unittest.main()
