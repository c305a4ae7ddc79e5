// What every chart shares: elements, numbers as people read them, axes, reading values with the
// mouse or the keyboard, and the table that stands under each chart.
'use strict';

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {}))
    if (value !== null && value !== undefined) node.setAttribute(name, value);
  node.append(...children.filter(child => child !== null && child !== undefined));
  return node;
}

// Numbers: three significant digits, thousands apart, no exponents.
function number(value, digits = 3) {
  if (value === null || value === undefined || !isFinite(value)) return '–';
  if (value === 0) return '0';
  const size = Math.floor(Math.log10(Math.abs(value)));
  const text = value.toFixed(Math.max(0, Math.min(12, digits - 1 - size)));
  const [whole, part] = text.split('.');
  const grouped = whole.length > 4 ? whole.replace(/\B(?=(\d{3})+$)/g, '\u202f') : whole;
  return part && /[1-9]/.test(part) ? grouped + '.' + part.replace(/0+$/, '') : grouped;
}
function scaled(value, steps, unit, digits) {
  if (value === null || value === undefined || !isFinite(value)) return '–';
  let at = 0;
  while (at + 1 < steps.length && Math.abs(value) >= steps[at + 1][0] * 0.9995) ++at;
  return number(value / steps[at][0], digits) + '\u00a0' + steps[at][1] + unit;
}
const ms = (value, digits) => value === 0 ? '0\u00a0ms' : scaled(value,
  [[1e-6, 'ns'], [1e-3, 'µs'], [1, 'ms'], [1e3, 's'], [6e4, 'min'], [3.6e6, 'h']], '', digits);
const seconds = (value, digits) => ms(value * 1e3, digits);
const bytes = value => value === 0 ? '0\u00a0B' : scaled(value,
  [[1, ''], [1024, 'Ki'], [1024 ** 2, 'Mi'], [1024 ** 3, 'Gi'], [1024 ** 4, 'Ti']], 'B');
const percent = (share, digits = 3) => share > 0 && share < 1e-6 ? '<0.0001%'
  : share === null || share === undefined ? '–' : number(100 * share, digits) + '%';
const signed = share => share === null || share === undefined ? '–' : share === 0 ? '='
  : (share > 0 ? '+' : '−') + number(Math.abs(100 * share)) + '%';
// By the units that figures have in summary.json.
const unit_text = {ms, s: seconds, share: percent, bytes, count: number, text: value => value};
const value_text = (unit, value, digits) => unit in unit_text ? unit_text[unit](value, digits)
  : number(value, digits) + '\u00a0' + unit;
// What stands at a dotted key; undefined where nothing does.
const at_key = (summary, key) => key.split('.').reduce(
  (found, name) => found === undefined || found === null ? undefined : found[name], summary);
const short = title => title.replace(/^time to first token/i, 'TTFT');

// A table: columns are {name, text: left-aligned, of: row => what stands there, bar: row => share of
// the whole cell}.
function table(columns, rows, caption) {
  const head = el('tr', {}, ...columns.map(c => el('th', {scope: 'col', class: c.text ? 'text' : null},
    c.name)));
  const body = rows.map(row => el('tr', {class: row.mark || null}, ...columns.map(c => {
    const cell = el('td', {class: c.bar ? 'bar' : c.text ? 'text' : null}, String(c.of(row)));
    if (c.bar) {
      const line = el('i', {'aria-hidden': 'true'});
      const share = c.bar(row);
      line.style.width = share > 0 ? `max(2px, calc(${Math.min(1, share)} * (100% - 1rem)))` : '0';
      cell.append(line);
    }
    return cell;
  })));
  return el('div', {class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption},
    el('table', {}, el('thead', {}, head), el('tbody', {}, ...body)));
}

const contents = [];
function section(id, title, ...children) {
  contents.push([id, title]);
  return el('section', {id, 'aria-labelledby': id + '-title'}, el('h2', {id: id + '-title'}, title),
    ...children.filter(child => child !== null));
}
const note = text => el('p', {class: 'note'}, text);

function legend(items) {
  return el('ul', {class: 'legend'}, ...items.map(item => {
    const li = el('li', {});
    const key = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    key.setAttribute('width', 22);
    key.setAttribute('height', 10);
    key.setAttribute('aria-hidden', 'true');
    const mark = document.createElementNS(key.namespaceURI, item.line ? 'line' : 'rect');
    const place = item.line ? {x1: 0, y1: 5, x2: 22, y2: 5, 'stroke-width': 2.5,
      'stroke-dasharray': item.dash || 'none'} : {x: 4, width: 14, height: 10};
    for (const [name, value] of Object.entries(place)) mark.setAttribute(name, value);
    mark.style[item.line ? 'stroke' : 'fill'] = item.paint || `var(--${item.colour})`;
    if (item.paint && !item.line) mark.style.stroke = 'var(--edge)';
    if (item.faint) mark.style.opacity = item.faint;
    key.append(mark);
    li.append(key, item.name);
    return li;
  }));
}

// A chart. `draw(svg, width, height)` draws and returns the points that can be read: {x, y, text},
// with `row` where up and down lead to another one. `rows` and `columns` are its table.
const charts = [];
function chart({id, title, note: caption, keys, height, draw, columns, rows, hide_title}) {
  const figure = el('figure', {id: id + '-chart', class: 'chart'});
  if (!hide_title) figure.append(el('h3', {}, title));
  if (caption) figure.append(el('figcaption', {}, caption));
  if (!window.d3) {
    figure.append(el('p', {class: 'missing'}, 'No chart: this kvhaul was built without D3 ' +
      '(Debian: node-d3). The numbers are in the table.'));
  } else {
    if (keys) figure.append(legend(keys));
    const plot = el('div', {class: 'plot'});
    const tip = el('div', {class: 'tip', role: 'status', 'aria-live': 'polite'});
    figure.append(plot, tip);
    charts.push({id, figure, plot, tip, title, height, draw});
  }
  const shown = el('details', {}, el('summary', {}, 'Table: ' + title));
  shown.append(table(columns, rows, title));
  if (!window.d3) shown.open = true;
  else figure.append(save_buttons(figure, title, id));
  figure.append(shown);
  return figure;
}

// What a chart is saved as: one SVG with its title, its legend and every style written out, so that it
// looks the same in any program.
const saved_styles = ['fill', 'fill-opacity', 'stroke', 'stroke-opacity', 'stroke-width',
  'stroke-dasharray', 'opacity', 'font-family', 'font-size', 'font-weight', 'text-anchor',
  'paint-order'];
// As #rrggbb: programs that draw SVG know no color-mix().
const pixel = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
function plain_colour(colour) {
  if (!/^(rgb|color|okl)/.test(colour)) return colour;
  pixel.clearRect(0, 0, 1, 1);
  pixel.fillStyle = colour;
  pixel.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = pixel.getImageData(0, 0, 1, 1).data;
  return a === 0 ? 'none' : '#' + [r, g, b].map(v => v.toString(16).padStart(2, '0')).join('');
}
function write_out_styles(from, to) {
  const style = getComputedStyle(from);
  if (style.display === 'none') return to.remove();
  for (const name of saved_styles) {
    const value = style.getPropertyValue(name);
    if (value) to.setAttribute(name, name === 'fill' || name === 'stroke' ? plain_colour(value) : value);
  }
  for (const name of ['style', 'class', 'tabindex']) to.removeAttribute(name);
  const children = [...to.children];
  [...from.children].forEach((child, i) => write_out_styles(child, children[i]));
}
function saved_svg(figure, title) {
  const drawn = figure.querySelector('.plot svg');
  const {x, y, width, height} = drawn.viewBox.baseVal;
  const svg_el = (tag, attributes, ...children) => {
    const node = document.createElementNS(drawn.namespaceURI, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };
  const style = getComputedStyle(document.body);
  const text = {fill: plain_colour(style.color), 'font-family': style.fontFamily};
  const head = [svg_el('text', {...text, x: 12, y: 24, 'font-size': 15, 'font-weight': 600}, title)];
  let at = 12, bottom = 34;
  const items = [...figure.querySelectorAll('.legend li')];
  if (items.length > 0) bottom += 22;
  items.forEach(item => {
    const mark = item.querySelector('svg');
    const room = (mark ? 28 : 0) + 7.2 * item.textContent.length + 16;
    if (at > 12 && at + room > width) [at, bottom] = [12, bottom + 20];
    if (mark) {
      const copy = mark.cloneNode(true);
      write_out_styles(mark, copy);
      copy.setAttribute('x', at);
      copy.setAttribute('y', bottom - 17);
      head.push(copy);
    }
    head.push(svg_el('text', {...text, x: at + (mark ? 28 : 0), y: bottom - 8, 'font-size': 12},
      item.textContent));
    at += room;
  });
  const copy = drawn.cloneNode(true);
  write_out_styles(drawn, copy);
  for (const [name, value] of Object.entries({x: 6, y: bottom, width, height,
    viewBox: `${x} ${y} ${width} ${height}`, overflow: 'visible'})) copy.setAttribute(name, value);
  const size = {width: width + 12, height: bottom + height + 8};
  const whole = svg_el('svg', {xmlns: drawn.namespaceURI, ...size,
    viewBox: `0 0 ${size.width} ${size.height}`}, svg_el('rect', {...size,
    fill: plain_colour(style.backgroundColor)}), ...head, copy);
  return {text: new XMLSerializer().serializeToString(whole), ...size};
}
function download(blob, name) {
  const link = el('a', {href: URL.createObjectURL(blob), download: name});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
// Two buttons: nothing is fetched for them.
function save_buttons(figure, title, id) {
  const name = (document.title + '-' + id).replace(/^kvhaul: /, '').replace(/[^A-Za-z0-9.]+/g, '-');
  const button = (kind, save) => {
    const node = el('button', {type: 'button', 'aria-label': `Save ${title} as ${kind}`}, kind);
    node.addEventListener('click', () => save(saved_svg(figure, title)));
    return node;
  };
  return el('p', {class: 'save'}, 'Save as ',
    button('SVG', svg => download(new Blob([svg.text], {type: 'image/svg+xml'}), name + '.svg')), ' ',
    button('PNG', svg => {
      const picture = new Image();
      picture.onload = () => {
        const canvas = el('canvas', {width: 2 * svg.width, height: 2 * svg.height});
        canvas.getContext('2d').drawImage(picture, 0, 0, canvas.width, canvas.height);
        canvas.toBlob(blob => download(blob, name + '.png'));
      };
      picture.src = 'data:image/svg+xml;charset=utf-8,' + encodeURIComponent(svg.text);
    }));
}

function render(chart) {
  const width = Math.max(280, Math.floor(chart.plot.clientWidth));
  if (!chart.plot.clientWidth || width === chart.width) return;
  chart.width = width;
  const height = typeof chart.height === 'function' ? chart.height(width) : chart.height;
  chart.plot.replaceChildren();
  chart.tip.textContent = '';
  const svg = d3.select(chart.plot).append('svg')
    .attr('viewBox', `0 0 ${width} ${height}`).attr('width', width).attr('height', height)
    .attr('role', 'img').attr('tabindex', 0)
    .attr('aria-label', chart.title + '. Arrow keys read the values; a table follows.');
  readable(chart, svg, chart.draw(svg, width, height) || [], width);
}

function readable(chart, svg, points, width) {
  if (points.length === 0) return;
  const cursor = svg.append('circle').attr('class', 'cursor').attr('r', 5).style('display', 'none');
  let at = -1;
  const show = index => {
    at = index;
    const point = points[index];
    cursor.style('display', null).attr('cx', point.x).attr('cy', point.y);
    chart.tip.textContent = point.text;
    const left = svg.node().getBoundingClientRect().left - chart.figure.getBoundingClientRect().left;
    const top = svg.node().getBoundingClientRect().top - chart.figure.getBoundingClientRect().top;
    const right = point.x > width / 2;
    chart.tip.style.left = right ? 'auto' : left + point.x + 14 + 'px';
    chart.tip.style.right = right ? chart.figure.clientWidth - left - point.x + 14 + 'px' : 'auto';
    chart.tip.style.top = top + Math.max(0, point.y - 20) + 'px';
  };
  const hide = () => {
    at = -1;
    cursor.style('display', 'none');
    chart.tip.textContent = '';
  };
  const nearest = (x, y, of) => {
    let best = -1, distance = Infinity;
    points.forEach((point, index) => {
      if (of && !of(point)) return;
      const here = (point.x - x) ** 2 + (point.y - y) ** 2 / 4;
      if (here < distance) [best, distance] = [index, here];
    });
    return best;
  };
  svg.on('mousemove', () => {
    const [x, y] = d3.mouse(svg.node());
    show(nearest(x, y));
  }).on('mouseleave', hide).on('blur', hide);
  svg.on('keydown', () => {
    const key = d3.event.key;
    const here = points[Math.max(0, at)];
    const same = point => point.row === here.row;
    let next = -1;
    if (key === 'Escape') return hide();
    if (!['ArrowLeft', 'ArrowRight', 'ArrowUp', 'ArrowDown', 'Home', 'End'].includes(key)) return;
    d3.event.preventDefault();
    if (at < 0) next = 0;
    else if (key === 'ArrowRight') next = nearest(here.x, here.y, p => same(p) && p.x > here.x);
    else if (key === 'ArrowLeft') next = nearest(here.x, here.y, p => same(p) && p.x < here.x);
    else if (key === 'ArrowUp') next = nearest(here.x, here.y, p => !same(p) && p.y < here.y);
    else if (key === 'ArrowDown') next = nearest(here.x, here.y, p => !same(p) && p.y > here.y);
    else if (key === 'Home') next = nearest(-1e6, here.y, same);
    else next = nearest(1e6, here.y, same);
    if (next >= 0) show(next);
  });
}

function render_all() {
  if (!window.d3) return;
  charts.forEach(render);
  let waiting = 0;
  window.addEventListener('resize', () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => charts.forEach(render));
  });
}

// Axes with horizontal grid lines and the unit on top of the values.
function axes(svg, {x, y, left, right, top, bottom, x_format, y_format, x_title, y_title, x_ticks,
  y_ticks, x_values, y_values}) {
  const below = d3.axisBottom(x).tickSizeOuter(0).tickPadding(6);
  if (x_ticks) below.ticks(x_ticks);
  if (x_values) below.tickValues(x_values);
  if (x_format) below.tickFormat(x_format);
  const g = svg.append('g').attr('class', 'axis').attr('transform', `translate(0 ${bottom})`)
    .call(below);
  const beside = d3.axisLeft(y).tickSize(-(right - left)).tickPadding(6);
  if (y_ticks) beside.ticks(y_ticks);
  if (y_values) beside.tickValues(y_values);
  if (y_format) beside.tickFormat(y_format);
  svg.append('g').attr('class', 'axis').attr('transform', `translate(${left} 0)`).call(beside)
    .select('.domain').remove();
  if (y_title) svg.append('text').attr('x', 0).attr('y', top - 10).text(y_title);
  if (x_title) svg.append('text').attr('x', right).attr('y', bottom + 40).attr('text-anchor', 'end')
    .text(x_title);
  return g;
}
// The y axis of curves: logarithmic where the values lie far apart, else from zero, unless all lie in
// its upper half and differ by more than what is called equal. What is not from zero says so.
function y_axis(values, {linear} = {}) {
  const above = values.filter(v => v > 0);
  const least = d3.min(values), most = d3.max(values);
  if (!linear && above.length > 0 && most / d3.min(above) > 20 && least >= 0) {
    const low = d3.min(above) / 1.2;
    return {scale: d3.scaleLog().domain([low, most * 1.2]), log: true, foot: least > 0 ? null : low,
      says: least > 0 ? 'logarithmic' : 'logarithmic, 0 at its foot'};
  }
  if (least > most / 2 && most - least > 0.01 * most) {
    const scale = d3.scaleLinear().domain([least - 0.2 * (most - least), most]).nice(4);
    return {scale, says: at => `from ${at(scale.domain()[0])}, not from 0`};
  }
  return {scale: d3.scaleLinear().domain([Math.min(0, least || 0), most || 1]).nice()};
}
// Decades and, where there are few, 2 and 5 times those.
function log_ticks(scale, most) {
  const [low, high] = scale.domain();
  const decades = [];
  for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); ++p)
    for (const step of [1, 2, 5]) decades.push([step * 10 ** p, step]);
  const inside = decades.filter(([v]) => v >= low * 0.999 && v <= high * 1.001);
  const whole = inside.filter(([, step]) => step === 1);
  return (inside.length <= most || whole.length < 2 ? inside : whole).map(([v]) => v);
}
function size_ticks(scale, most) {
  const [low, high] = scale.domain();
  const all = [];
  for (let p = Math.ceil(Math.log2(low)); p <= Math.floor(Math.log2(high)); ++p) all.push(2 ** p);
  const step = Math.max(1, Math.ceil(all.length / most));
  return all.filter((v, i) => i % step === 0);
}
// Seconds of a run in one unit over the whole axis.
function run_time(duration_s) {
  const [unit, name] = duration_s > 7200 ? [3600, 'h'] : duration_s > 180 ? [60, 'min']
    : duration_s > 1 ? [1, 's'] : [1e-3, 'ms'];
  return {unit, name, text: at => number(at / unit) + '\u00a0' + name};
}
