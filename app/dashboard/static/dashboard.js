// Draws the charts: each element with data-chart holds its times and series. The numbers are in the page too.
"use strict";

const drawn = [];

// 20:15, and the date at midnight; in UTC, as all times here.
function clock(seconds) {
  const [date, time] = new Date(seconds * 1000).toISOString().slice(0, 16).split("T");
  return time === "00:00" ? date.slice(5) : time;
}

function draw(element) {
  const chart = JSON.parse(element.dataset.chart);
  const color = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const axis = { stroke: color("soft"), grid: { stroke: color("line"), width: 1 }, ticks: { show: false } };
  const bars = uPlot.paths.bars({ size: [0.7, 40], radius: 0.15 });
  const value = (_plot, shown) => (shown == null ? "" : String(shown));
  const series = chart.series.map(each => ({
    label: each.label,
    fill: color(each.color),
    width: 0,
    paths: bars,
    points: { show: false },
    value,
  }));
  const step = chart.times.length > 1 ? chart.times[1] - chart.times[0] : 3600;
  element.replaceChildren();
  return new uPlot(
    {
      width: element.clientWidth,
      height: element.clientHeight - 32,
      tzDate: seconds => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      scales: {
        x: { range: (_plot, first, last) => [first - step / 2, last + step / 2] },
        y: { range: (_plot, _least, most) => [0, Math.max(1, most * 1.1)] },
      },
      axes: [{ ...axis, values: (_plot, times) => times.map(clock) }, { ...axis, size: 60 }],
      series: [{ label: "UTC", value: (_plot, time) => (time == null ? "" : clock(time)) }, ...series],
    },
    [chart.times, ...chart.series.map(each => each.values)],
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
