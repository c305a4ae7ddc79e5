// Draws the page from the data it carries.
'use strict';

(function () {
  const data = JSON.parse(document.getElementById('data').textContent);
  const main = document.getElementById('main');
  if (data.kind === 'compare') compare_page(data, main);
  else if (data.kind === 'sweep') sweep_page(data, main);
  else run_page(data, main);
  document.getElementById('contents').append(...contents.map(([id, title]) =>
    el('a', {href: '#' + id}, title)));
  render_all();
  document.documentElement.dataset.drawn = 'yes';
})();
