// What instances did: a table, and the course of both sides.
'use strict';

// A value of one instance, or the range of several; `text` writes a number.
function range_text(values, text) {
  if (values.length === 0) return '–';
  const [low, high] = values.map(text);
  return low === high ? low : low + ' to ' + high;
}

function instances_table(data) {
  const column = (name, key, text, bar) => ({name, of: row => range_text(row[key], text),
    bar: bar && (row => row[key][1])});
  const rows = data.instances.rows.map(row => ({...row, mark: row.total ? 'strong' : null}));
  return table([{name: '', text: true, of: row => row.name},
    {name: 'node', text: true, of: row => row.node},
    column('requests', 'requests', v => number(v, 9)),
    column('utilisation', 'utilisation', v => percent(v), true),
    column('batch', 'batch', v => number(v)),
    column('most', 'batch_max', v => number(v)),
    column('KV fill', 'kv_fill', v => percent(v), true),
    column('most', 'kv_fill_max', v => percent(v)),
    column('queue', 'queue', v => number(v)),
    column('most', 'queue_max', v => number(v)),
    column('tokens/s', 'tokens_per_s', v => number(v)),
    column('TTFT p50', 'ttft_p50_ms', v => ms(v)),
    column('hand-over p50', 'handover_p50_ms', v => ms(v))], rows, 'Instances');
}

// One band under the other over the same time; shares from 0 to 100%.
function instances_chart(data) {
  const {bin_s, roles} = data.instances;
  const count = Math.max(...roles.map(role => role.course.queue.length));
  const end_s = Math.max(data.summary.duration_s, bin_s * (count - 1));
  const time = run_time(end_s);
  const panels = [
    {key: 'utilisation', name: 'utilisation', share: true},
    {key: 'kv_fill', name: 'KV memory held', share: true},
    {key: 'queue', name: 'requests waiting', text: v => number(v)},
    {key: 'batch', name: 'decode batch, sequences', text: v => number(v), only: 'decode'},
    {key: 'tokens_per_s', name: 'tokens/s', text: v => number(v)}];
  const faults = data.faults.filter(fault => fault.from_s < end_s);
  const panel_height = 80, gap = 28;
  const text_of = panel => panel.share ? v => percent(v) : panel.text;
  const roles_of = panel => roles.filter(role => !panel.only || role.role === panel.only);
  return chart({
    id: 'instances', title: 'Instances over time', hide_title: true,
    keys: roles.map(role => ({name: role.role + (role.instances > 1
      ? ', ' + role.instances + ' instances' : ''), colour: role.role, line: true})),
    height: panels.length * (panel_height + gap) + 48 + faults.length * 16,
    draw(svg, width, height) {
      const left = 64, right = width - 12;
      const x = d3.scaleLinear().domain([0, end_s / time.unit]).range([left, right]);
      const middle = b => x((b * bin_s + Math.min(end_s, (b + 1) * bin_s)) / 2 / time.unit);
      const points = [];
      panels.forEach((panel, p) => {
        const top = 12 + faults.length * 16 + p * (panel_height + gap) + gap - 8;
        const bottom = top + panel_height;
        const most = panel.share ? 1
          : d3.max(roles_of(panel).flatMap(role => role.course[panel.key])) || 1;
        const y = d3.scaleLinear().domain([0, most]).range([bottom, top]);
        if (!panel.share) y.nice(3);
        svg.append('g').attr('class', 'axis').attr('transform', `translate(${left} 0)`)
          .call(d3.axisLeft(y).ticks(3).tickSize(-(right - left)).tickPadding(6)
            .tickFormat(text_of(panel))).select('.domain').remove();
        svg.append('text').attr('class', 'label').attr('x', left).attr('y', top - 8)
          .text(panel.name);
        roles_of(panel).forEach(role => {
          const values = role.course[panel.key];
          if (panel.share && role.instances > 1)
            svg.append('path').attr('class', 'range')
              .attr('d', d3.area().x((v, b) => middle(b))
                .y0((v, b) => y(role.course[panel.key + '_least'][b]))
                .y1((v, b) => y(role.course[panel.key + '_most'][b]))(values))
              .style('fill', `var(--${role.role})`).style('fill-opacity', 0.2);
          svg.append('path').datum({series: panel.key, role: role.role, values})
            .attr('class', 'mark').attr('d', d3.line().x((v, b) => middle(b)).y(y)(values))
            .attr('fill', 'none').style('stroke', `var(--${role.role})`).attr('stroke-width', 1.8);
        });
        for (let b = 0; b < count; ++b)
          points.push({x: middle(b), y: y(roles_of(panel)[0].course[panel.key][b] || 0), row: p,
            text: `${time.text(b * bin_s)} to ${time.text(Math.min(end_s, (b + 1) * bin_s))}\n` +
              roles_of(panel).map(role => `${panel.name}, ${role.role}: ` +
                text_of(panel)(role.course[panel.key][b])).join('\n')});
      });
      const bottom = height - 48;
      time_below(svg, {x, time, end_s, left, right, bottom, width, faults});
      return points;
    },
    columns: [{name: 'from', of: b => time.text(b * bin_s)},
      ...panels.flatMap(panel => roles_of(panel).map(role => ({
        name: panel.name + (panel.only ? '' : ', ' + role.role),
        of: b => text_of(panel)(role.course[panel.key][b])})))],
    rows: Array.from({length: count}, (value, b) => b),
  });
}

function instances_section(data) {
  const {roles, bin_s} = data.instances;
  const alike = roles.filter(role => role.alike)
    .map(role => `All ${role.instances} ${role.role} instances are alike (utilisation and KV fill ` +
      'within five points, medians within a tenth of TTFT): the table has the range of each value. ');
  return section('instances', 'Instances',
    note(alike.join('') + 'Utilisation: share of the time in which prefill computed, or a decode ' +
      'step ran. Batch: sequences in a decode step. KV fill: pages held for requests. Queue: ' +
      'requests waiting for prefill, or for pages and steps of decode. Tokens/s: computed by ' +
      'prefill, given out by decode steps. Means over the time of the run, and the most at any time.'),
    instances_table(data),
    note(`Over time, in bins of ${seconds(bin_s)}` + (roles.some(role => role.instances > 1)
      ? '; shares are means over instances, shaded from the lowest to the highest of them; requests ' +
        'and tokens are sums.' : '.') + (data.faults.length > 0
      ? ' Shaded, too: the faults that were played.' : '')),
    instances_chart(data));
}
