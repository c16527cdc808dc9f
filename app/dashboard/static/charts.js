// Draws the charts: each element with data-chart holds its times and series. The numbers are in the page too.
"use strict";

(() => {
  const drawn = [];
  const zone = document.documentElement.dataset.zone || "UTC";
  const hours = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: zone });
  const days = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: zone });

  // 20:15, and the date at midnight, by the operators' clock.
  function clock(seconds) {
    const time = hours.format(seconds * 1000);
    return time === "00:00" ? days.format(seconds * 1000) : time;
  }

  // Each series on top of those before it: the bars show parts of a whole.
  function stacked(series) {
    const sums = series[0].values.map(() => 0);
    return series.map(each => each.values.map((value, index) => (sums[index] += value)));
  }

  function draw(element) {
    const chart = JSON.parse(element.dataset.chart);
    const color = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
    const axis = { stroke: color("soft"), grid: { stroke: color("line"), width: 1 }, ticks: { show: false } };
    const bars = uPlot.paths.bars({ size: [0.7, 40] });
    // The highest sum is drawn first, and the lower ones over it.
    const order = chart.series.map((_, index) => index).reverse();
    const sums = stacked(chart.series);
    const series = order.map(index => ({
      label: chart.series[index].label,
      fill: color(chart.series[index].color),
      width: 0,
      paths: bars,
      points: { show: false },
      value: (_plot, _sum, _series, at) => (at == null ? "–" : chart.series[index].values[at].toLocaleString("en")),
    }));
    const step = chart.times.length > 1 ? chart.times[1] - chart.times[0] : 3600;
    element.replaceChildren();
    return new uPlot(
      {
        width: element.clientWidth,
        height: element.clientHeight - 36,
        tzDate: seconds => uPlot.tzDate(new Date(seconds * 1000), zone),
        cursor: { y: false, drag: { x: false, y: false } },
        scales: {
          x: { range: (_plot, first, last) => [first - step / 2, last + step / 2] },
          y: { range: (_plot, _least, most) => [0, Math.max(1, most * 1.1)] },
        },
        axes: [
          { ...axis, values: (_plot, times) => times.map(clock) },
          { ...axis, size: 62, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6] },
        ],
        series: [{ label: "from", value: (_plot, time) => (time == null ? "–" : clock(time)) }, ...series],
      },
      [chart.times, ...order.map(index => sums[index])],
      element,
    );
  }

  function drawAll() {
    drawn.splice(0).forEach(plot => plot.destroy());
    document.querySelectorAll("[data-chart]").forEach(element => drawn.push(draw(element)));
  }

  drawAll();
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth !== width) {
      width = window.innerWidth;
      drawAll();
    }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  document.addEventListener("dashboard:replaced", event => {
    if (event.target.querySelector("[data-chart]")) drawAll();
  });
})();
