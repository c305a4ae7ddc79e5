// The report of several runs side by side.
'use strict';

const run_colour = index => 's' + index % 6;
const run_dash = index => index < 6 ? null : index < 12 ? '6 3' : index < 18 ? '2 3' : '8 3 2 3';

// Lines over a common axis. `series`: [{name, colour, dash, points: [[x, y], ...]}]; y may be null.
function line_chart({id, title, note: caption, height, series, linear, x_text, y_text, y_format,
  x_title, y_title, x_format, y_domain, hide_title, zero_line, rings, no_keys}) {
  const all = series.flatMap(s => s.points).filter(([, y]) => y !== null);
  const rows = series.flatMap(s => s.points.map(([x, y]) => ({name: s.name, x, y})));
  const same = (a, b) => JSON.stringify(a.points) === JSON.stringify(b.points);
  return chart({
    id, title, note: caption, hide_title, height: height || 300,
    keys: series.length > 1 && !no_keys ? series.map(s => ({...s, line: true})) : null,
    draw(svg, width, chart_height) {
      if (all.length === 0) {
        svg.append('text').attr('x', 8).attr('y', 30).text('There is nothing to draw.');
        return [];
      }
      const left = 64, right = width - 14, top = 32, bottom = chart_height - 48;
      const x = d3.scaleLinear().domain(d3.extent(all, p => p[0])).range([left, right]);
      const tick = y_format || y_text;
      const axis = y_domain ? {scale: d3.scaleLinear().domain(y_domain).nice()}
        : y_axis(all.map(p => p[1]), {linear});
      const y = axis.scale.range([bottom, top]);
      const at_y = value => y(axis.foot && !(value > 0) ? axis.foot : value);
      const says = typeof axis.says === 'function' ? axis.says(tick) : axis.says;
      axes(svg, {x, y, left, right, top: top - 5, bottom, x_title, x_format, x_ticks: width / 110,
        y_title: [y_title, says].filter(text => text).join('; '),
        y_values: axis.log ? log_ticks(y, 6) : null, y_ticks: 5, y_format: tick});
      if (zero_line)
        svg.append('line').attr('x1', x(0)).attr('x2', x(0)).attr('y1', top).attr('y2', bottom)
          .style('stroke', 'var(--strong)').attr('stroke-dasharray', '3 3');
      const points = [];
      series.forEach((s, row) => {
        const drawable = s.points.filter(([, v]) => v !== null);
        // One that lies wholly under another is wider, so that both are seen.
        const covered = series.slice(row + 1).some(other => same(s, other));
        svg.append('path').datum({series: s.name, points: s.points}).attr('class', 'mark')
          .attr('d', d3.line().x(p => x(p[0])).y(p => at_y(p[1]))(drawable)).attr('fill', 'none')
          .style('stroke', `var(--${s.colour})`).attr('stroke-width', covered ? 6 : 2)
          .attr('stroke-opacity', covered ? 0.5 : 1).attr('stroke-dasharray', s.dash);
        if (drawable.length <= 12)
          drawable.forEach(p => svg.append('circle').attr('cx', x(p[0])).attr('cy', at_y(p[1]))
            .attr('r', covered ? 5 : 3).style('fill', `var(--${s.colour})`));
        (rings || []).filter(ring => ring.series === s.name).forEach(ring => {
          const p = s.points[ring.at];
          svg.append('circle').datum(ring).attr('class', 'knee').attr('cx', x(p[0]))
            .attr('cy', at_y(p[1])).attr('r', 8).attr('fill', 'none')
            .style('stroke', `var(--${s.colour})`).attr('stroke-width', 2);
          svg.append('text').attr('class', 'label').attr('x', x(p[0])).attr('y', at_y(p[1]) - 13)
            .attr('text-anchor', 'middle').text('knee');
        });
        drawable.forEach(p => points.push({x: x(p[0]), y: at_y(p[1]), row,
          text: `${s.name}\n${x_text(p[0])}: ${y_text(p[1])}`}));
      });
      return points;
    },
    columns: [{name: 'series', text: true, of: r => r.name}, {name: 'at', of: r => x_text(r.x)},
      {name: 'value', of: r => r.y === null ? '–' : y_text(r.y)}],
    rows,
  });
}

function differences(data) {
  const shown = figure => value => value === null ? '–' : number(value * figure.factor, 4);
  const columns = [{name: '', text: true, of: f => f.label}];
  data.runs.forEach((run, i) => {
    columns.push({name: run.name, of: f => shown(f)(f.values[i])});
    if (i > 0) columns.push({name: `${run.name} to A`, of: f => signed(f.relative[i])});
  });
  const rows = data.figures.map(figure => ({...figure, mark: figure.subpart ? 'subpart' : figure.part ? 'part' : null}));
  return table(columns, rows, 'Differences');
}

// What was run otherwise, of each run against the first.
function made_otherwise(run) {
  return [el('p', {}, run.differences_sentence), run.differences.all.length === 0 ? null
    : table([{name: '', text: true, of: d => d.what}, {name: 'A', text: true, of: d => d.first},
      {name: run.name, text: true, of: d => d.other}], run.differences.all,
    `What was run otherwise in ${run.name}`)].filter(node => node);
}

function parts_chart(data) {
  const rows = data.runs.map(run => {
    const mean = key => run.data.summary[key + '_ms'].mean;
    return {name: run.name, queue: mean('queue'), prefill: mean('prefill'),
      exposed: mean('exposed_transfer'), decode: mean('handover') - mean('exposed_transfer')};
  });
  const parts = [['queue', 'queue', 'queue'], ['prefill', 'prefill', 'prefill'],
    ['exposed transfer', 'exposed', 'exposed'], ['waiting for decode', 'decode', 'decode']];
  const total = row => parts.reduce((sum, [, key]) => sum + row[key], 0);
  return chart({
    id: 'parts', title: 'Mean time to first token, and its parts', height: 70 + 44 * rows.length,
    keys: parts.map(([name, , colour]) => ({name, colour})),
    draw(svg, width, height) {
      const left = 30, right = width - 74, top = 8, bottom = height - 48;
      const x = d3.scaleLinear().domain([0, d3.max(rows, total) || 1]).nice().range([left, right]);
      const y = d3.scaleBand().domain(rows.map(r => r.name)).range([top, bottom]).padding(0.3);
      svg.append('g').attr('class', 'axis').attr('transform', `translate(0 ${bottom})`)
        .call(d3.axisBottom(x).ticks(width / 130).tickFormat(v => ms(v)).tickSizeOuter(0));
      const points = [];
      rows.forEach((row, index) => {
        let from = 0;
        svg.append('text').attr('class', 'label').attr('x', left - 10).attr('text-anchor', 'end')
          .attr('y', y(row.name) + y.bandwidth() / 2 + 4).text(row.name);
        parts.forEach(([name, key, colour]) => {
          svg.append('rect').datum({run: row.name, part: name, value: row[key]})
            .attr('class', 'mark').attr('x', x(from)).attr('width', x(from + row[key]) - x(from))
            .attr('y', y(row.name)).attr('height', y.bandwidth()).style('fill', `var(--${colour})`);
          from += row[key];
          points.push({x: x(from), y: y(row.name) + y.bandwidth() / 2, row: index,
            text: `${row.name}, ${name}: ${ms(row[key], 4)}`});
        });
        svg.append('text').attr('class', 'label').attr('x', x(from) + 8)
          .attr('y', y(row.name) + y.bandwidth() / 2 + 4).text(ms(from));
      });
      return points;
    },
    columns: [{name: 'run', text: true, of: r => r.name},
      ...parts.map(([name, key]) => ({name, of: r => ms(r[key], 4)})),
      {name: 'sum', of: r => ms(total(r), 4)}],
    rows,
  });
}

function pairs_section(data) {
  const measured = data.runs[0].data.summary.run.time === 'real';
  const children = [];
  const series = [];
  data.runs.forEach((run, i) => {
    if (i === 0) return;
    const pairs = run.pairs;
    if (pairs.none_because) {
      children.push(el('p', {}, `${run.name} ${pairs.none_because} than A: no two transfers are the ` +
        'same.'));
      return;
    }
    if (pairs.quantiles.length > 0)
      series.push({name: `${run.name} to A`, colour: run_colour(i), dash: run_dash(i),
        points: pairs.quantiles.map((value, percentile) => [100 * value, percentile])});
    if (pairs.formula && pairs.formula.quantiles)
      series.push({name: `bytes / rate of ${run.name}`, colour: run_colour(i), dash: '2 3',
        points: pairs.formula.quantiles.map((value, percentile) => [100 * value, percentile])});
    const row = (name, spread) => ({name, ...spread});
    const rows = pairs.duration_error ? [row('time of a transfer', pairs.duration_error)] : [];
    if (pairs.formula) rows.push(row('bytes / rate, calculated', pairs.formula.error));
    children.push(el('h3', {}, `${run.name} against A: ${number(pairs.count, 12)} pairs`));
    if (rows.length > 0)
      children.push(table([{name: 'difference of', text: true, of: r => r.name},
        {name: 'median', of: r => percent(r.median)}, {name: 'p95', of: r => percent(r.p95)},
        {name: 'max', of: r => percent(r.max)},
        {name: 'signed median', of: r => signed(r.signed_median)}], rows, 'Differences of transfers'));
    const left_out = [['in one run only', pairs.in_one_run_only], ['failed in a run', pairs.failed],
      ['moved other bytes', pairs.of_other_size], ['took no time in A', pairs.without_time]]
      .filter(([, count]) => count > 0).map(([why, count]) => `${number(count, 12)} ${why}`);
    if (left_out.length > 0) children.push(note(`Left out: ${left_out.join('; ')}.`));
    if (pairs.no_formula) children.push(note(`bytes / rate is left out: ${pairs.no_formula}.`));
  });
  if (series.length > 0) {
    // The tails would flatten what lies between.
    const inner = series.map(s => ({...s, points: s.points.slice(1, 100)}));
    children.unshift(line_chart({
      id: 'errors', title: 'Distribution of the differences', hide_title: true, series: inner,
      note: 'Share of the transfers whose time differs by no more than this, from the 1st to the ' +
        '99th percentile; left of zero a transfer is shorter than in A.', zero_line: true,
      x_text: v => signed(v / 100), y_text: v => number(v) + '%', x_title: 'difference to A, %',
      y_title: 'share of transfers', x_format: v => number(v), y_domain: [0, 100]}));
  }
  return section('pairs', measured ? 'Error of the simulation, transfer by transfer'
    : 'Transfer by transfer', ...children);
}

function compare_page(data, main) {
  document.getElementById('facts').textContent = '';
  document.getElementById('facts').append(...data.runs.flatMap((run, i) => [
    ...(i > 0 ? [el('br')] : []), el('b', {}, `${run.name}  `),
    `${run.data.summary.run.scenario}, ${run.data.summary.run.trace}: ` +
      run_facts(run.data.summary)]));
  const series = key => data.runs.map((run, i) => ({name: run.name,
    colour: run_colour(i), dash: run_dash(i), points: key(run.data)}));
  const longest = Math.max(...data.runs.map(run => run.data.summary.duration_s));
  const time = run_time(longest);
  const over_time = key => series(d => d.time[key].map((value, b) =>
    [(b + 0.5) * d.time.bin_s / time.unit, value]));
  const any_resent = data.runs.some(run => run.data.summary.transfers.resent_chunks > 0);

  main.append(
    section('differences', 'Differences', note('Relative to A; = for the same number.'),
      differences(data), ...data.runs.slice(1).map(run => el('p', {}, run.why)),
      ...data.runs.map(run => el('p', {}, `${run.name}: ${run.data.summary.limit_sentence}.`))),
    section('made', 'What was run otherwise', ...data.runs.slice(1).flatMap(made_otherwise)),
    section('latency', 'Time to first token', parts_chart(data), line_chart({
      id: 'ttft', title: 'Time to first token by percentile',
      series: series(d => (d.ttft.quantiles_ms || []).map((value, p) => [p, value])),
      x_text: p => `p${p}`, y_text: v => ms(v), x_title: 'percentile of requests', y_title: 'time'})),
    section('transfers', 'Transfer time against size', size_chart(data.runs.map((run, i) => ({
      name: run.name, colour: run_colour(i), sizes: run.data.summary.transfers.by_size || [],
      ideal: run.data.ideal})))),
    pairs_section(data),
    section('time', 'Over time', ...[['exposed_p50_ms', 'Exposed transfer, p50'],
      ['exposed_p99_ms', 'Exposed transfer, p99'], ['ttft_p50_ms', 'Time to first token, p50'],
      ...(any_resent ? [['resent_chunks', 'Chunks sent again']] : [])].map(([key, title]) => line_chart({
      id: 'time-' + key.replaceAll('_', '-'), title, height: 220, series: over_time(key),
      linear: key === 'resent_chunks', x_text: at => time.text(at * time.unit),
      y_text: v => key === 'resent_chunks' ? number(v) : ms(v), x_title: `time, ${time.name}`})), any_resent ? null : note('No run sent a chunk again.')),
    section('links-over-time', 'Links over time',
      note('Share of its rate that each link carried; the 16 most used links of each run, the ' +
        'others are in links.csv.'),
      ...data.runs.map(run => heat_chart(run.data, {id: 'heat-' + run.name, rows: 16,
        title: `${run.name}, ${run.data.summary.run.scenario}, in bins of ` +
          seconds(run.data.heat.bin_s)}))),
    section('bottlenecks', 'Links ranked', note('The five most used links of each run; saturated: ' +
      'in stretches without a gap they carried above 95% of their rate.'),
      table([{name: 'run', text: true, of: r => r.run}, {name: 'link', text: true, of: r => r.link},
        {name: 'rate', of: r => number(r.rate_gbytes_per_s) + '\u00a0GB/s'},
        {name: 'carried', of: r => bytes(r.bytes)}, {name: 'used', of: r => percent(r.utilisation)},
        {name: 'saturated', of: r => percent(r.saturated_share)}],
      data.runs.flatMap(run => run.data.links.slice(0, 5).map(link => ({run: run.name, ...link}))),
      'Links ranked')),
    ...(data.runs.some(run => (run.data.summary.faults || []).length > 0) ? [section('faults', 'Faults',
      faults_table(data.runs.map(run => ({name: run.name, summary: run.data.summary}))))] : []),
    section('routes', 'Routes used',
      table([{name: 'run', text: true, of: r => r.run}, {name: 'kind', text: true, of: r => r.kind},
        {name: '', text: true, of: r => r.tier === 0 ? 'preferred' : `fallback ${r.tier}`},
        {name: 'landed', of: r => bytes(r.bytes)}],
      data.runs.flatMap(run => run.data.summary.routes.map(r => ({run: run.name, ...r}))),
      'Routes used')),
    section('model', 'What was assumed, and what this cannot show', ...data.runs.flatMap(run => [
      el('h3', {}, run.name), el('ul', {}, ...[...run.data.assumed, ...run.data.not_shown]
        .map(item => el('li', {}, item)))])),
    section('reproduce', 'How to make these runs again', ...data.runs.flatMap(run => [
      el('pre', {class: 'command'}, run.data.reproduce.command),
      text_block(`The scenario of ${run.name}, ${run.data.reproduce.scenario_file}`,
        run.data.reproduce.scenario, 'Scenario'),
      ...(run.data.reproduce.faults ? [text_block(`The fault file of ${run.name}`,
        run.data.reproduce.faults, 'Fault file')] : [])])));
}
