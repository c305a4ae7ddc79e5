// The report of one run.
'use strict';

// Of a share of a rate: a pale tint for whatever is more than nothing, and hot only near the whole.
// One scale for all links, runs and reports: a colour means the same everywhere.
const load_colour = (share, none = 'tint') =>
  `color-mix(in srgb, var(--load) ${100 * Math.min(1, share)}%, var(--${none}))`;
const load_keys = (line, nothing, none) => [{name: 'nothing', paint: `var(--${nothing})`, line},
  ...[[0, 'a little'], [0.25, '25%'], [0.5, '50%'], [0.75, '75%'], [1, '100% of the rate of the link']]
    .map(([share, name]) => ({name, paint: load_colour(share, none), line}))];

function tiles(items) {
  return el('dl', {class: 'tiles'}, ...items.map(([name, value, more]) =>
    el('div', {}, el('dt', {}, name),
      el('dd', {}, value, more ? el('small', {}, more) : null))));
}

const split = [['queue', 'queue_ms', 'queue'], ['prefill', 'prefill_ms', 'prefill'],
  ['exposed transfer', 'exposed_ms', 'exposed'], ['waiting for decode', 'decode_ms', 'decode']];
const share_text = value => 'p' + number(100 * value);

// Requests by the percentile of their time to first token; each bar is the mean of its requests.
function ttft_chart(data) {
  const bands = data.ttft.bands;
  const name = band => number(100 * band.from) + '–' + number(100 * band.to);
  const total = band => split.reduce((sum, [, key]) => sum + band[key], 0);
  return chart({
    id: 'ttft', title: 'Time to first token by percentile', hide_title: true, height: 330,
    note: 'Requests in the order of their time to first token, taken together from one percentile ' +
      'to the next; a bar is the mean of its requests, split into its parts.',
    keys: split.map(([name, , colour]) => ({name, colour})),
    draw(svg, width, height) {
      const left = 52, right = width - 8, top = 24, bottom = height - 48;
      const x = d3.scaleBand().domain(bands.map(name)).range([left, right]).padding(0.22);
      const y = d3.scaleLinear().domain([0, d3.max(bands, total) || 1]).nice().range([bottom, top]);
      axes(svg, {x, y, left, right, top, bottom, y_ticks: 5, y_title: 'ms',
        x_title: 'percentile of requests', y_format: v => number(v, 4),
        x_format: width < 560 ? text => text.split('–')[1] : null});
      const points = [];
      bands.forEach(band => {
        let from = 0;
        split.forEach(([label, key, colour]) => {
          const value = band[key];
          svg.append('rect').datum({band: name(band), part: label, value}).attr('class', 'mark')
            .attr('x', x(name(band))).attr('width', x.bandwidth())
            .attr('y', y(from + value)).attr('height', y(from) - y(from + value))
            .style('fill', `var(--${colour})`);
          from += value;
        });
        points.push({x: x(name(band)) + x.bandwidth() / 2, y: y(from), row: 0,
          text: `percentiles ${name(band)}: ${number(band.count)} requests\nTTFT ${ms(from)}\n` +
            split.map(([label, key]) => `${label} ${ms(band[key])}, ` +
              percent(from > 0 ? band[key] / from : 0)).join('\n')});
      });
      return points;
    },
    columns: [{name: 'percentiles', of: name}, {name: 'requests', of: b => b.count},
      {name: 'TTFT', of: b => ms(total(b), 4)}, ...split.map(([label, key]) =>
        ({name: label, of: b => ms(b[key], 4)})),
      {name: 'exposed share', of: b => percent(total(b) > 0 ? b.exposed_ms / total(b) : 0)}],
    rows: bands,
  });
}

// A tile per figure: of a distribution its median and p99, of others their value. Of what there was
// nothing to measure there is none.
function figure_tiles(data) {
  const s = data.summary;
  const beside = {
    'transfers.bytes': `${number(s.transfers.count, 12)} transfers`,
    'transfers.gbytes_per_s_while_busy':
      `busy ${percent(s.transfers.wire_busy_s / (s.duration_s || 1))} of the time`};
  return tiles(data.figures.filter(figure => figure.tile).flatMap(figure => {
    const value = at_key(s, figure.key);
    if (value === undefined || value === null) return [];
    const text = number => value_text(figure.unit, number);
    return [figure.times
      ? [short(figure.title) + ' p50', text(value.p50), 'p99 ' + text(value.p99)]
      : [figure.title, text(value), beside[figure.key]]];
  }));
}

function times_table(data) {
  const listed = data.figures.filter(figure => figure.listed);
  const rows = listed.map((figure, i) => ({...figure, group: at_key(data.summary, figure.key),
    mark: figure.subpart ? 'subpart' : figure.part ? 'part' : listed[i + 1] && listed[i + 1].part ? 'strong' : null}))
    .filter(row => row.group);  // an older kvhaul did not know all of them
  return table([{name: '', text: true, of: row => row.title},
    ...['mean', 'p50', 'p90', 'p99', 'max'].map(key =>
      ({name: key, of: row => value_text(row.unit, row.group[key], 4)}))], rows, 'Latencies');
}

// `runs`: [{name, colour, sizes, ideal}]; one run's ideal line is drawn for each.
function size_chart(runs) {
  const rows = runs.flatMap(run => run.sizes.map((size, i) => ({run: run.name, ...size,
    ideal_ms: run.ideal && run.ideal.times ? run.ideal.times[i].ms : null})));
  const many = runs.length > 1;
  const ideal = runs.filter(run => run.ideal && run.ideal.route)
    .map(run => (many ? run.name + ': ' : '') + `${run.ideal.route} at ` +
      `${number(run.ideal.rate_gbytes_per_s)} GB/s`).join('; ');
  return chart({
    id: 'sizes', title: 'Transfer time against size', hide_title: true, height: 350,
    note: 'From submission to report, by size in buckets a quarter of a power of two wide: the ' +
      'median, and from there to p99.' + (ideal ? ' Ideal: one chunk alone on an idle route (' +
        ideal + ').' : ''),
    keys: [...runs.map(run => ({name: many ? run.name : 'p50, line up to p99', colour: run.colour})),
      ...(ideal ? [{name: 'ideal', colour: many ? 'soft' : 'ink', line: true, dash: '5 4'}] : [])],
    draw(svg, width, height) {
      if (rows.length === 0) {
        svg.append('text').attr('x', 8).attr('y', 30).text('Nothing was transferred.');
        return [];
      }
      const left = 64, right = width - 12, top = 24, bottom = height - 48;
      const sizes = d3.extent(rows, r => r.mean_bytes);
      const times = [d3.min(rows, r => Math.min(r.p50_ms || Infinity, r.ideal_ms || Infinity)),
        d3.max(rows, r => Math.max(r.p99_ms, r.ideal_ms || 0))];
      if (!isFinite(times[0])) times[0] = 1e-6;
      const x = d3.scaleLog().base(2).domain([sizes[0] / 1.3, sizes[1] * 1.3]).range([left, right]);
      const y = d3.scaleLog().domain([times[0] / 1.5, Math.max(times[1], times[0]) * 1.5])
        .range([bottom, top]);
      axes(svg, {x, y, left, right, top, bottom, x_values: size_ticks(x, width / 90),
        x_format: bytes, y_values: log_ticks(y, 7), y_format: v => ms(v), y_title: 'time',
        x_title: 'size of a transfer'});
      const line = d3.line().x(r => x(r.mean_bytes)).y(r => y(r.ideal_ms));
      const points = [];
      runs.forEach((run, index) => {
        const mine = rows.filter(r => r.run === run.name);
        const drawable = mine.filter(r => r.ideal_ms > 0);
        if (drawable.length > 0) {
          // A single size still has a line: the same over the width of its bucket.
          const ends = drawable.length > 1 ? drawable : [0.9, 1.1].map(f => ({
            mean_bytes: drawable[0].mean_bytes * f, ideal_ms: drawable[0].ideal_ms}));
          svg.append('path').datum(drawable.map(r => r.ideal_ms)).attr('class', 'ideal')
            .attr('d', line(ends)).attr('fill', 'none')
            .style('stroke', many ? `var(--${run.colour})` : 'var(--ink)')
            .attr('stroke-dasharray', '5 4').attr('stroke-width', 1.5);
        }
        const shift = many ? (index - (runs.length - 1) / 2) * 5 : 0;
        mine.filter(r => r.p50_ms > 0).forEach(r => {
          const at = x(r.mean_bytes) + shift;
          svg.append('line').attr('x1', at).attr('x2', at).attr('y1', y(r.p50_ms))
            .attr('y2', y(r.p99_ms)).style('stroke', `var(--${run.colour})`)
            .attr('stroke-width', 2).attr('stroke-opacity', 0.55);
          svg.append('circle').datum({run: run.name, bytes: r.mean_bytes, value: r.p50_ms})
            .attr('class', 'mark').attr('cx', at).attr('cy', y(r.p50_ms)).attr('r', 3.5)
            .style('fill', `var(--${run.colour})`);
          points.push({x: at, y: y(r.p50_ms), row: index, text: (many ? r.run + '\n' : '') +
            `${bytes(r.mean_bytes)}, ${number(r.count)} transfers\np50 ${ms(r.p50_ms)}, ` +
            `p90 ${ms(r.p90_ms)}, p99 ${ms(r.p99_ms)}\nmin ${ms(r.min_ms)}, max ${ms(r.max_ms)}` +
            (r.ideal_ms ? `\nideal ${ms(r.ideal_ms)}` : '')});
        });
      });
      return points;
    },
    columns: [...(many ? [{name: 'run', text: true, of: r => r.run}] : []),
      {name: 'mean size', of: r => bytes(r.mean_bytes)}, {name: 'transfers', of: r => r.count},
      ...['min', 'p50', 'p90', 'p99', 'max'].map(key => ({name: key, of: r => ms(r[key + '_ms'])})),
      {name: 'ideal', of: r => ms(r.ideal_ms)}],
    rows,
  });
}

function heat_chart(data, {id, title, rows: shown} = {}) {
  const {bins, bin_s} = data.heat;
  const rows = data.heat.rows.slice(0, shown);
  const time = run_time(data.summary.duration_s);
  // Where names have no room beside the rows they stand above them.
  const above = width => width < 560;
  const top = 8, row_height = width => above(width) ? 30 : 16;
  return chart({
    id: id || 'heat', title: title || 'Utilisation over time', hide_title: !title,
    keys: load_keys(false, 'panel'),
    height: width => rows.length * row_height(width) + top + 48,
    draw(svg, width, height) {
      const left = above(width) ? 4 : Math.min(190, width * 0.36), right = width - 12;
      const bottom = height - 48;
      const x = d3.scaleLinear().domain([0, data.summary.duration_s / time.unit])
        .range([left, right]);
      const y = d3.scaleBand().domain(d3.range(rows.length)).range([top, bottom]).paddingInner(0.08);
      const name_height = above(width) ? 15 : 0, band = y.bandwidth() - name_height;
      svg.append('g').attr('class', 'axis').attr('transform', `translate(0 ${bottom})`)
        .call(d3.axisBottom(x).ticks(Math.max(2, width / 110)).tickSizeOuter(0));
      svg.append('text').attr('x', right).attr('y', bottom + 40).attr('text-anchor', 'end')
        .text(`time, ${time.name}`);
      const points = [];
      rows.forEach((row, r) => {
        const room = Math.floor((above(width) ? right : left) / 6.4) - 1;
        svg.append('text').attr('class', 'label').attr('x', above(width) ? left : left - 8)
          .attr('y', y(r) + 11).attr('text-anchor', above(width) ? 'start' : 'end')
          .text(row.link.length > room ? '…' + row.link.slice(1 - room) : row.link);
        const row_top = y(r) + name_height;
        svg.append('rect').attr('x', left).attr('y', row_top).attr('width', right - left)
          .attr('height', band).style('fill', 'var(--panel)');
        row.values.forEach((value, b) => {
          const from = x(b * bin_s / time.unit);
          const to = Math.min(right, x((b + 1) * bin_s / time.unit));
          if (value > 0)
            svg.append('rect').datum({link: row.link, bin: b, value}).attr('class', 'mark')
              .attr('x', from).attr('y', row_top).attr('width', Math.max(0.5, to - from + 0.3))
              .attr('height', band).style('fill', load_colour(value));
          points.push({x: (from + to) / 2, y: row_top + band / 2, row: r,
            text: `${row.link}\n${time.text(b * bin_s)} to ${time.text((b + 1) * bin_s)}\n` +
              `${percent(value)} of its rate`});
        });
      });
      return points;
    },
    columns: [{name: 'link', text: true, of: r => r.link},
      {name: 'mean', of: r => percent(r.values.reduce((a, b) => a + b, 0) / (bins || 1))},
      {name: 'highest bin', of: r => percent(Math.max(0, ...r.values))},
      {name: 'at', of: r => r.values.length === 0 ? '–'
        : time.text(bin_s * r.values.indexOf(Math.max(...r.values)))}],
    rows,
  });
}

function heat_section(data) {
  const {rows, bin_s} = data.heat;
  const most = Math.max(0, ...rows.flatMap(row => row.values));
  return section('links-over-time', 'Links over time',
    note(`Share of its rate that each link carried, in bins of ${seconds(bin_s)}: the ` +
      `${data.links.length} most used links` + (data.other_links.length > 0
        ? ', and the mean of the others of each kind.' : '.') +
      ` The highest bin of all is at ${percent(most)}.`), heat_chart(data));
}

function links_section(data) {
  const ranked = data.links.slice().sort((a, b) => b.saturated_share - a.saturated_share ||
    b.utilisation - a.utilisation);
  const others = data.other_links.map(other => ({link: other.name, kind: '', bytes: other.bytes,
    utilisation: other.utilisation_max, other: true}));
  return section('bottlenecks', 'Links ranked',
    note('First by the time in which a link was saturated (in stretches without a gap it carried ' +
      'above 95% of its rate), then by use over the whole run. The same transfer crosses several ' +
      'links: those of one road stand together. A bar is drawn in its 100%.'),
    table([{name: 'link', text: true, of: l => l.link},
      {name: 'rate', of: l => l.other ? '' : number(l.rate_gbytes_per_s) + '\u00a0GB/s'},
      {name: 'carried', of: l => bytes(l.bytes)},
      {name: 'saturated', of: l => l.other ? '' : percent(l.saturated_share),
        bar: l => l.other ? 0 : l.saturated_share},
      {name: 'used', of: l => (l.other ? 'at most ' : '') + percent(l.utilisation),
        bar: l => l.utilisation},
      {name: 'highest bin', of: l => l.other ? '' : percent(l.peak_utilisation)},
      {name: 'busy', of: l => l.other ? '' : percent(l.busy_share)}],
    [...ranked, ...others], 'Links, most saturated first'));
}

// Of charts with bands one under the other: their common time, and over them the faults that were played,
// for which each has 16 pixels above.
function time_below(svg, {x, time, end_s, left, right, bottom, width, faults}) {
  svg.append('g').attr('class', 'axis').attr('transform', `translate(0 ${bottom + 4})`)
    .call(d3.axisBottom(x).ticks(Math.max(2, width / 110)).tickSizeOuter(0));
  svg.append('text').attr('x', right).attr('y', bottom + 44).attr('text-anchor', 'end')
    .text(`time, ${time.name}`);
  faults.forEach((fault, f) => {
    const until = Math.min(fault.until_s === null ? Infinity : fault.until_s, end_s);
    const from = x(fault.from_s / time.unit), to = Math.max(from + 2, x(until / time.unit));
    svg.append('rect').datum(fault).attr('class', 'fault').attr('x', from).attr('y', 18 + f * 16)
      .attr('width', to - from).attr('height', 3).style('fill', 'var(--fault)');
    // What holds all the time would shade everything.
    if (until - fault.from_s < 0.9 * end_s)
      svg.append('rect').attr('x', from).attr('y', 18 + f * 16).attr('width', to - from)
        .attr('height', bottom + 4 - 18 - f * 16).style('fill', 'var(--fault)')
        .style('fill-opacity', 0.12);
    const room = 6.6 * fault.text.length, late = from + room > right;
    svg.append('text').attr('class', 'label')
      .attr('x', late ? Math.min(right, Math.max(to, left + room)) : from)
      .attr('text-anchor', late ? 'end' : 'start').attr('y', 14 + f * 16).text(fault.text);
  });
}

// What happened when, one band under the other over the same time, with the faults that were played.
function time_chart(data, {id, title, panels, columns}) {
  const t = data.time, count = t.requests.length;
  const time = run_time(data.summary.duration_s);
  const end_s = t.bin_s * count;
  const faults = data.faults.filter(fault => fault.from_s < end_s);
  const panel_height = 84, gap = 30;
  return chart({
    id, title, hide_title: true,
    height: panels.length * (panel_height + gap) + 48 + faults.length * 16,
    draw(svg, width, height) {
      const left = 64, right = width - 12;
      const x = d3.scaleLinear().domain([0, t.bin_s * count / time.unit]).range([left, right]);
      const points = [];
      const faults_top = 14 + faults.length * 16;
      panels.forEach((panel, p) => {
        const top = faults_top + p * (panel_height + gap) + gap - 8, bottom = top + panel_height;
        const values = (panel.lines ? panel.lines.flat() : panel.bars).filter(v => v !== null);
        const y = d3.scaleLinear().domain([0, d3.max(values) || 1]).nice(3).range([bottom, top]);
        svg.append('g').attr('class', 'axis').attr('transform', `translate(${left} 0)`)
          .call(d3.axisLeft(y).ticks(3).tickSize(-(right - left)).tickPadding(6)
            .tickFormat(v => panel.lines ? ms(v) : panel.counts && v % 1 ? '' : number(v)))
          .select('.domain').remove();
        svg.append('text').attr('class', 'label').attr('x', left).attr('y', top - 8)
          .text(panel.name);
        const middle = b => x((b + 0.5) * t.bin_s / time.unit);
        if (panel.bars)
          panel.bars.forEach((value, b) => {
            if (!(value > 0)) return;
            svg.append('rect').datum({series: panel.name, bin: b, value: panel.raw[b]})
              .attr('class', 'mark').attr('x', x(b * t.bin_s / time.unit) + 0.5)
              .attr('width', Math.max(1, (right - left) / count - 1)).attr('y', y(value))
              .attr('height', bottom - y(value)).style('fill', `var(--${panel.colour})`);
          });
        else
          panel.lines.forEach((series, s) => {
            svg.append('path').datum({series: panel.name, values: series}).attr('class', 'mark')
              .attr('d', d3.line().defined(v => v !== null).x((v, b) => middle(b)).y(y)(series))
              .attr('fill', 'none').style('stroke', `var(--${panel.colour})`)
              .attr('stroke-width', s === 0 ? 2 : 1.2).attr('stroke-opacity', s === 0 ? 1 : 0.75)
              .attr('stroke-dasharray', s === 0 ? null : '3 2');
            // A value between two empty bins has no line.
            series.forEach((value, b) => {
              if (value !== null && (series[b - 1] ?? null) === null && (series[b + 1] ?? null) === null)
                svg.append('circle').attr('cx', middle(b)).attr('cy', y(value)).attr('r', 1.8)
                  .style('fill', `var(--${panel.colour})`);
            });
          });
        for (let b = 0; b < count; ++b) {
          const value = panel.bars ? panel.bars[b] : panel.lines[1][b];
          if (value === null) continue;
          points.push({x: middle(b), y: y(value), row: p, text:
            `${time.text(b * t.bin_s)} to ${time.text((b + 1) * t.bin_s)}\n${panel.name}: ` +
            (panel.bars ? panel.text(panel.bars[b])
              : panel.text(panel.lines[0][b]) + ', ' + panel.text(panel.lines[1][b]))});
        }
      });
      const bottom = height - 48;
      time_below(svg, {x, time, end_s, left, right, bottom, width, faults});
      return points;
    },
    columns: [{name: 'from', of: b => time.text(b * t.bin_s)}, ...columns],
    rows: t.requests.map((value, b) => b),
  });
}

function time_section(data) {
  const t = data.time;
  return section('time', 'Over time',
    note(`Requests by their arrival, in bins of ${seconds(t.bin_s)}` +
      (data.faults.length > 0 ? '. Shaded: the faults that were played.' : '.')),
    time_chart(data, {id: 'time', title: 'Requests over time', panels: [
      {name: 'requests arriving, per s', bars: t.requests.map(v => v / t.bin_s), raw: t.requests,
        colour: 'queue', text: v => number(v)},
      {name: 'time to first token, p50 and p99', lines: [t.ttft_p50_ms, t.ttft_p99_ms],
        colour: 'prefill', text: v => ms(v)},
      {name: 'exposed transfer, p50 and p99', lines: [t.exposed_p50_ms, t.exposed_p99_ms],
        colour: 'exposed', text: v => ms(v)}],
    columns: [{name: 'requests', of: b => t.requests[b]},
      {name: 'TTFT p50', of: b => ms(t.ttft_p50_ms[b])},
      {name: 'p99', of: b => ms(t.ttft_p99_ms[b])},
      {name: 'exposed p50', of: b => ms(t.exposed_p50_ms[b])},
      {name: 'p99', of: b => ms(t.exposed_p99_ms[b])}]}));
}

function routes_section(data) {
  const all = data.summary.routes.reduce((sum, route) => sum + route.bytes, 0) || 1;
  const fallback = data.summary.transfers.on_fallback_route;
  return section('routes', 'Routes used',
    note(fallback > 0 ? `${number(fallback)} transfers used a route other than the preferred kind.`
      : 'Every transfer used the preferred kind of route.'),
    table([{name: 'kind', text: true, of: r => r.kind},
      {name: '', text: true, of: r => r.tier === 0 ? 'preferred' : `fallback ${r.tier}`},
      {name: 'landed', of: r => bytes(r.bytes)},
      {name: 'share', of: r => percent(r.bytes / all), bar: r => r.bytes / all}],
    data.summary.routes, 'Routes used'));
}

function cluster_section(data) {
  const picture = data.picture;
  if (!picture.svg) return null;
  const figure = el('figure', {id: 'cluster-picture'});
  const plot = el('div', {class: 'plot', tabindex: 0, role: 'region',
    'aria-label': 'Picture of the cluster'});
  plot.innerHTML = picture.svg;  // made by this tool, its texts escaped
  const most = Math.max(0, ...Object.values(picture.load));
  plot.querySelectorAll('[data-link]').forEach(line => {
    const load = picture.load[line.dataset.link];
    if (!load) return;
    line.classList.add('loaded');
    line.style.setProperty('--share', 100 * Math.min(1, load) + '%');
    const title = line.querySelector('title') || line.parentNode.querySelector('title');
    if (title) title.textContent += `: ${percent(load)} used`;
  });
  const rule = picture.shown_nodes < picture.active_nodes
    ? ` Shown: ${picture.shown_nodes} of ${picture.active_nodes} nodes in use, the busiest of each ` +
      'side.' : picture.active_nodes < picture.nodes
      ? ` Shown: the ${picture.active_nodes} of ${picture.nodes} nodes whose links carried ` +
        'anything.' : '';
  figure.append(legend(load_keys(true, 'edge', 'strong')), plot, ...(window.d3 ? [save_buttons(figure, 'The cluster', 'cluster')] : []));
  return section('cluster', 'The cluster',
    note('G: GPU, N: NIC. Two lines per link, one each way; colour is the share of its rate over ' +
      `the whole run: the most used of these is at ${percent(most)}. Point at a line for its name.` +
      rule), figure);
}

function model_section(data) {
  const list = items => el('ul', {}, ...items.map(item => el('li', {}, item)));
  return section('model', 'What was assumed, and what this cannot show',
    el('h3', {}, 'Assumed'), list(data.assumed),
    el('h3', {}, 'Not shown'), list(data.not_shown));
}

function text_block(title, text, name) {
  return el('details', {}, el('summary', {}, title),
    el('pre', {tabindex: 0, role: 'region', 'aria-label': name}, text));
}

function reproduce_section(data) {
  const r = data.reproduce;
  return section('reproduce', 'How to make this run again',
    note(`The same trace (${data.summary.run.trace}), scenario and seed ` +
      `(${data.summary.run.seed}) give the same ` +
      (data.summary.run.time === 'virtual' ? 'files, byte for byte' : 'work; times are measured') +
      ', with the same version of kvhaul.'),
    el('pre', {class: 'command'}, r.command),
    text_block(`The scenario, ${r.scenario_file}`, r.scenario, 'Scenario'),
    r.faults ? text_block('The fault file', r.faults, 'Fault file') : null);
}

function run_facts(summary) {
  const run = summary.run;
  return `${run.model}, ${run.backend}, ${run.time} time, payload ${run.payload}; policy ` +
    `${run.policy}, streaming ${run.streaming}, ${run.direction}; ` +
    `${number(summary.requests.completed, 9)} of ${number(summary.requests.replayed, 9)} requests ` +
    `completed in ${seconds(summary.duration_s)}`;
}

// The reruns that prove what limits the run; bars to the whole of the median.
function proof_section(data) {
  const proof = data.limit_proof;
  const change = gain => Math.abs(gain) < 1e-4 ? 'no difference'
    : percent(Math.abs(gain)) + (gain > 0 ? ' shorter' : ' longer');
  return section('limits', 'What limits it',
    note(`The same requests again in virtual time on the backend ${proof.backend}, each time with ` +
      'more of one thing: ' + (proof.run_was_real ? 'a simulation of this run, whose median time ' +
      `to first token is ${ms(proof.ttft_p50_ms, 4)}.` : 'median time to first token ' +
      `${ms(proof.ttft_p50_ms, 4)} with nothing changed.`)),
    table([{name: 'with', text: true, of: r => r.more +
        (r.completed === proof.completed ? '' : ` (${r.completed} requests completed, not ${proof.completed})`)},
      {name: 'median TTFT', of: r => ms(r.ttft_p50_ms, 4)},
      {name: 'difference', of: r => change(r.gain), bar: r => r.gain < 1e-4 ? 0 : r.gain}],
    proof.reruns, 'What limits it'));
}

function run_page(data, main) {
  const s = data.summary;
  document.getElementById('facts').textContent = run_facts(s);
  main.append(figure_tiles(data));
  if (data.limit_proof) main.append(proof_section(data));
  main.append(...[
    section('latency', 'Time to first token', ttft_chart(data), el('h3', {}, 'All latencies'),
      times_table(data)), slowest_section(data),
    section('transfers', 'Transfer time against size', size_chart([{name: 'run', colour: 'prefill',
      sizes: s.transfers.by_size || [], ideal: data.ideal}])),
    instances_section(data), heat_section(data), links_section(data), time_section(data),
    faults_section(data), routes_section(data), cluster_section(data), model_section(data),
    reproduce_section(data)].filter(part => part));
}
