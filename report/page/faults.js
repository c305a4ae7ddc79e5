// The faults that were played in runs, and what was sent again.
'use strict';

// Each fault that was played: when, and what it did. `runs`: [{name, summary}]
function faults_table(runs) {
  const rows = runs.flatMap(run => (run.summary.faults || []).map(f => ({run: run.name, ...f})));
  if (rows.length === 0) return null;
  return table([...(runs.length > 1 ? [{name: 'run', text: true, of: f => f.run}] : []),
    {name: 'fault', text: true, of: f => f.fault},
    {name: 'began', of: f => f.began_s === null ? 'never' : seconds(f.began_s)},
    {name: 'ended', of: f => f.ended_s !== null ? seconds(f.ended_s)
      : f.began_s === null ? '' : 'with the run'},
    {name: 'times', of: f => number(f.times, 12)},
    {name: 'chunks hit', of: f => number(f.chunks, 12)},
    {name: '', text: true, of: f => f.began_s === null ? 'never began' : f.chunks > 0 ? ''
      : f.met_traffic ? 'hit nothing' : 'no chunk was posted while it held'}], rows, 'Faults that were played');
}

// What a run without faults has none of: nothing but that is said then.
function faults_section(data) {
  const t = data.time, channels = data.summary.channels;
  const late = data.faults.filter(f => f.from_s >= t.bin_s * t.requests.length).length;
  const kinds = [['chunks sent again', t.resent_chunks], ['transfers failed', t.failed_transfers],
    ['transfers damaged and made again', t.damaged_transfers]]
    .filter(([, values]) => values.some(value => value > 0));
  const counts = [['sent again', data.summary.transfers.resent_chunks],
    ['timed out', channels.timeouts], ['ended with an error', channels.errors]];
  const sent_again = counts.every(([, count]) => count === 0) ? 'No chunk was sent again.'
    : `Chunks: ${counts.map(([what, count]) => `${number(count, 12)} ${what}`).join(', ')}; ` +
      `${number(channels.quarantines, 12)} quarantines of a channel, ` +
      `${number(channels.readmissions, 12)} taken back.`;
  return section('faults', 'Faults and retries',
    note((data.faults.length === 0 ? 'No fault was played. ' : late > 0
      ? `${late} of the faults would have begun after the end of the run. ` : '') + sent_again +
      (kinds.length > 0 ? ' Below they are where the KV that they belong to was first submitted, in ' +
        `bins of ${seconds(t.bin_s)}.` : '')),
    faults_table([{name: '', summary: data.summary}]),
    kinds.length === 0 ? null : time_chart(data, {id: 'faults', title: 'Retries over time',
      panels: kinds.map(([name, values]) => ({name, bars: values, raw: values, colour: 'fault',
        counts: true, text: v => number(v)})),
      columns: kinds.map(([name, values]) => ({name, of: b => values[b]}))}));
}
