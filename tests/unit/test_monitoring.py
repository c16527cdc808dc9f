"""Documentation, alerts, and dashboards use existing metrics, and Prometheus accepts their expressions."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from app.dashboard.overview import HIGH_BOUNCE_RATE, MANY_BOUNCES
from app.telemetry import metrics
from tests.support.documents import ROOT

DASHBOARDS = sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))
RULES = ROOT / "deploy/prometheus/alerts.yml"

#: Metrics that are queried at a scrape: app/api/metrics.py, actors/metrics.py.
LOOKED_UP = {
    "movieapp_outbox_transactions",
    "movieapp_outbox_oldest_seconds",
    "movieapp_webhook_last_seconds",
    "movieapp_queue_messages",
}


def declared() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return name → type and labels of every metric."""
    found = {}
    for name, collector in metrics._REGISTRY._names_to_collectors.items():
        assert isinstance(collector, MetricWrapperBase)
        kind = collector._type or ""
        whole = collector._name + ("_total" if kind == "counter" else "")
        if name == whole:
            found[whole] = (kind, tuple(collector._labelnames))
    return found


def expressions(dashboard: Path) -> Iterator[str]:
    for panel in json.loads(dashboard.read_text())["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def named(expression: str) -> set[str]:
    """Return the metrics in an expression, without histogram suffixes."""
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in re.findall(r"movieapp_\w+", expression)}


@pytest.fixture
def promtool(lacking: Callable[[str], NoReturn]) -> str:
    found = shutil.which("promtool")
    if found is None:
        lacking("promtool: it is not installed (Debian: apt-get install prometheus)")
    return found


def run(*command: Any) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_documentation_lists_every_metric() -> None:
    rows = re.findall(
        r"^\| `(movieapp_\w+)` \| (\w+) \| ([\w, ]*?) ?\|", (ROOT / "docs/metrics.md").read_text(), re.M
    )
    output = {name: (kind, tuple(filter(None, labels.split(", ")))) for name, kind, labels in rows}
    assert {name: row for name, row in output.items() if name not in LOOKED_UP} == declared()
    assert output.keys() - declared().keys() == LOOKED_UP


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_query_existing_metrics(dashboard: Path, promtool: str, tmp_path: Path) -> None:
    shown = list(expressions(dashboard))
    assert set().union(*map(named, shown)) <= declared().keys() | LOOKED_UP
    rules = [
        {"record": f"panel_{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(shown)
    ]
    path = tmp_path / "panels.yml"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    run(promtool, "check", "rules", path)


def test_every_metric_is_on_a_dashboard() -> None:
    shown = set().union(*(named(expression) for path in DASHBOARDS for expression in expressions(path)))
    assert shown == declared().keys() | LOOKED_UP


def test_alerts_query_existing_metrics_and_link_to_the_runbook() -> None:
    runbook = (ROOT / "docs/runbook.md").read_text()
    anchors = {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", runbook, re.M)
    }
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            assert named(rule["expr"]) <= declared().keys() | LOOKED_UP
            page, _, anchor = rule["annotations"]["runbook"].partition("#")
            assert page == "docs/runbook.md"
            assert anchor in anchors, rule["alert"]


def test_the_overview_judges_bounces_as_the_alert_does() -> None:
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    [expression] = [rule["expr"] for rule in rules if rule.get("alert") == "MailsBounce"]
    assert re.findall(r"> ([\d.]+)", expression) == [f"{HIGH_BOUNCE_RATE}", f"{MANY_BOUNCES}"]


def test_alerts_fire_only_when_they_should(promtool: str) -> None:
    run(promtool, "check", "rules", RULES)
    run(promtool, "test", "rules", RULES.with_name("alerts.test.yml"))
