// The report of a sweep: a table, and a panel per figure over one key, a line per combination of the
// others.
'use strict';

function sweep_page(data, main) {
  document.getElementById('facts').textContent =
    `${data.points.length} points: ` + data.keys.map(key => `${key.path} (${key.values.length})`)
      .join(', ');
  const x_key = data.keys[data.x_key];
  const figure = (point, name) => name in point.figures ? point.figures[name] : null;
  const panels = data.columns.filter(column => column.drawn &&
    data.points.some(p => figure(p, column.name) !== null));
  const text_in = (column, point, digits) => figure(point, column.name) === null ? '–'
    : value_text(column.unit, figure(point, column.name), digits);
  // After the panels: texts and counts.
  const others = data.columns.filter(column => ['text', 'count'].includes(column.unit) &&
    column.name !== 'faults');
  // Points where faults did the same stand together.
  const faults = new Map();
  data.points.filter(p => p.figures.faults).forEach(p =>
    faults.set(p.figures.faults, [...(faults.get(p.figures.faults) || []), p.number]));
  const charts_of = panels.map(({name, title, unit}) => line_chart({
    id: 'panel-' + name.replaceAll('_', '-'), title, height: 240,
    series: data.series.map((series, i) => ({name: series.name || title, colour: run_colour(i),
      dash: run_dash(i), points: series.points.map((number, at) =>
        [at, figure(data.points[number], name)])})),
    rings: data.series.flatMap(series => name in series.knees
      ? [{series: series.name || title, at: series.knees[name]}] : []),
    x_text: at => `${x_key.name} ${x_key.values[at]}`, y_text: v => value_text(unit, v),
    // A unit that is a word has no room beside each number.
    ...(unit in unit_text ? {} : {y_format: v => number(v), y_title: unit}),
    x_format: at => Number.isInteger(at) ? x_key.values[at] : '', x_title: x_key.name,
    no_keys: true}));
  const multiples = el('div', {class: 'multiples'}, ...charts_of);
  main.append(
    section('panels', `Over ${x_key.path}`,
      note(`The values of ${x_key.name} in the order given, at equal distances` +
        (data.series.length > 1 ? ', a line per combination of the other keys' : '') +
        '. A knee is the point of a curve of times that lies farthest below the straight line ' +
        'between its ends, by a tenth of its largest value at least, whatever the axis.'),
      data.series.length > 1 ? legend(data.series.map((series, i) => ({name: series.name,
        colour: run_colour(i), dash: run_dash(i), line: true}))) : null, multiples),
    section('points', 'All points',
      table([{name: '#', text: true, of: p => p.number},
        ...data.keys.map((key, k) => ({name: key.name, text: true, of: p => p.values[k]})),
        {name: 'outcome', text: true, of: p => p.outcome},
        ...panels.map(column => ({name: short(column.title), of: p => text_in(column, p, 4)})),
        ...others.map(column => ({name: column.name.replaceAll('_', ' '),
          text: column.unit === 'text', of: p => text_in(column, p, 12)})),
        ...(data.points.some(p => p.error)
          ? [{name: 'why', text: true, of: p => p.error || ''}] : [])],
      data.points.map(p => ({...p, mark: data.series.some(s => Object.values(s.knees).some(at =>
        s.points[at] === p.number)) ? 'knee' : null})), 'All points'),
      note('Shaded: where a curve has its knee. The same figures are in sweep.csv.')),
    ...(faults.size === 0 ? [] : [section('faults', 'Faults', ...[...faults].flatMap(([text, at]) =>
      [el('h3', {}, `At point ${at.join(', ')}`),
        el('ul', {}, ...text.split('; ').map(fault => el('li', {}, fault)))]))]),
    section('reproduce', 'How to make this sweep again', el('pre', {class: 'command'}, data.command)));
}
