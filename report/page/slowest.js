// The slowest requests of a run.
'use strict';

// The parts stand in the order in which they are waited for, and add up to the TTFT.
const request_parts = [['queue', 'queue_ms'], ['prefill', 'prefill_ms'],
  ['decode memory', 'memory_ms'], ['exposed transfer', 'exposed_ms'], ['decode step', 'step_ms'],
  ['decode seat', 'seat_ms']];

function slowest_section(data) {
  const rows = data.slowest || [];
  if (rows.length === 0) return null;
  const of_exposed = r => Object.entries(r.exposed_parts_ms).sort((a, b) => b[1] - a[1])
    .map(([part, value]) => `${part} ${ms(value)}`).join(', ');
  const worst = rows[0].request;
  return section('slowest', 'Slowest requests',
    note((rows.length === 1 ? 'The one that was completed' : `The ${rows.length} with the longest time ` +
      'to first token') + ', and what it waited for: the six parts, queue to decode seat, add up to ' +
      'its TTFT. What held it: '),
    el('pre', {class: 'command'}, `kvhaul explain RUN --request ${worst}`),
    note('When: open timeline.json of the run directory in Perfetto (ui.perfetto.dev) and type ' +
      `request ${worst} into its search box: Enter goes to its prefill, F brings it into view. The ` +
      'other parts stand beside it, on the track of that name.'),
    table([{name: 'request', text: true, of: r => 'request ' + r.request},
      {name: 'line', of: r => number(r.line, 12)}, {name: 'arrived', of: r => seconds(r.arrival_s, 4)},
      {name: 'input', of: r => number(r.input_tokens, 12)}, {name: 'TTFT', of: r => ms(r.ttft_ms, 4)},
      ...request_parts.map(([name, key]) => ({name, of: r => ms(r[key])})),
      {name: 'of the exposed transfer', text: true, of: of_exposed},
      {name: 'last link', text: true, of: r => r.last_link || ''},
      {name: 'instances', text: true, of: r => `${r.prefill_instance} → ${r.decode_instance}`}],
    rows, 'Slowest requests'));
}
