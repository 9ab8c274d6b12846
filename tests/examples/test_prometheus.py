"""The examples for Prometheus and Grafana: what promtool says of them, and that they ask for what agents export."""

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from healthagent.families import FAMILIES, Kind
from tests.binaries import need

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "prometheus-examples"
RULES, CASES = EXAMPLES / "healthagent.rules.yml", EXAMPLES / "healthagent.rules.test.yml"
DASHBOARD = EXAMPLES / "grafana-dashboard.json"
RUNBOOK = ROOT / "docs" / "prometheus.md"

# What Prometheus itself knows, what prometheus_client tells of its own process, and node_exporter.
FOREIGN = {"up", "ALERTS", "process_cpu_seconds_total", "process_resident_memory_bytes", "node_textfile_mtime_seconds"}
METRIC = re.compile(r"\b(?:up|ALERTS|process_\w+|node_\w+|(?:[a-z_]+:)?healthagent_\w+(?::\w+)?)\b")

Alert = tuple[str, str]  # name and severity


def promtool(*arguments: str | Path) -> str:
    """What it says; fails unless it is content."""
    need("promtool")
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def known(alert: dict[str, Any]) -> Alert:
    return alert["alert"], alert["labels"]["severity"]


def metrics(expression: str) -> set[str]:
    """The names that it asks for, without what stands in quotes."""
    return set(METRIC.findall(re.sub(r'"[^"]*"', '""', expression)))


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def expressions() -> list[tuple[str, str]]:
    """The title of the panel, and one of its expressions."""
    return [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]


def filled_in(expression: str, *, cluster: str, instances: Sequence[str], role: str, interval: str) -> str:
    """As Grafana does it: several values become a pattern, whose dots are escaped for it and for PromQL."""
    pattern = "({})".format("|".join(re.escape(name).replace("\\", "\\\\") for name in instances))
    values = {"__rate_interval": interval, "cluster": cluster, "instance": pattern, "role": role}
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], expression)


# --- promtool --------------------------------------------------------------------------------------------------------


def test_the_configuration() -> None:
    assert "SUCCESS" in promtool("check", "config", EXAMPLES / "prometheus.yml")


def test_the_rules_without_a_complaint() -> None:
    assert "SUCCESS" in promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)


def test_the_rules_do_what_their_cases_say() -> None:
    assert "SUCCESS" in promtool("test", "rules", CASES)


def test_the_series_of_the_cases_are_text() -> None:
    """Without quotes YAML takes 0x60, sixty-one times nothing, for the number 96."""
    series = [series for case in yaml.safe_load(CASES.read_text())["tests"] for series in case["input_series"]]
    assert [one["series"] for one in series if not isinstance(one["values"], str)] == []


TERM = re.compile(r"(?P<first>stale|_|-?[\d.]+)(?P<step>[+-][\d.]+)?(?:x(?P<times>\d+))?")
FAILS_EACH = 6  # samples


def spelled_out(values: str) -> list[str]:
    """The series notation of promtool, each sample by itself."""
    found: list[str] = []
    for term in values.split():
        match = TERM.fullmatch(term)
        assert match, term
        first, times = match["first"], int(match["times"] or 0)
        if first in ("_", "stale"):
            found += [first] * max(times, 1)
        else:
            found += [f"{float(first) + float(match['step'] or 0) * number:g}" for number in range(times + 1)]
    return found


def with_failing_scrapes(series: dict[str, str]) -> dict[str, str]:
    """One scrape in six fails: of `up` it is a 0, of all else there is nothing then."""
    failed = "0" if series["series"].startswith("up{") else "stale"
    values = [
        value if number % FAILS_EACH or value in ("_", "stale") else failed
        for number, value in enumerate(spelled_out(series["values"]))
    ]
    return {**series, "values": " ".join(values)}


def test_what_is_spelled_out() -> None:
    assert spelled_out("1x2 5-2x1 _ _x2 stale 0.5") == ["1", "1", "1", "5", "3", "_", "_", "_", "stale", "0.5"]
    assert with_failing_scrapes({"series": "up{}", "values": "1x6"})["values"] == "0 1 1 1 1 1 0"
    assert with_failing_scrapes({"series": "x", "values": "1x6"})["values"] == "stale 1 1 1 1 1 stale"


def test_a_scrape_that_fails_changes_nothing(tmp_path: Path) -> None:
    """Each half minute one fails, at a time when rules are evaluated: no fault starts anew, and none ends or begins."""
    cases = yaml.safe_load(CASES.read_text())
    for case in cases["tests"]:
        if case["interval"] == "5s":
            case["input_series"] = [with_failing_scrapes(series) for series in case["input_series"]]
    flaky = tmp_path / CASES.name
    flaky.write_text(yaml.safe_dump(cases))
    (tmp_path / RULES.name).write_bytes(RULES.read_bytes())
    assert "SUCCESS" in promtool("test", "rules", flaky)


def judged() -> Iterator[tuple[str, str, set[Alert]]]:
    """Of each case: its name, the alert that is looked at, and what is expected to fire."""
    for case in yaml.safe_load(CASES.read_text())["tests"]:
        for look in case["alert_rule_test"]:
            name = look["alertname"]
            expected = {(name, alert["exp_labels"]["severity"]) for alert in look.get("exp_alerts", ())}
            yield case["name"], name, expected


@pytest.mark.parametrize("alert", [known(alert) for alert in alerts()], ids="-".join)
def test_every_alert_is_seen_firing_and_not_firing(alert: Alert) -> None:
    """Both in one and the same case, and in one more of what only looks like it."""
    looks = list(judged())
    fires = {case for case, name, expected in looks if alert in expected}
    silent = {case for case, name, expected in looks if name == alert[0] and alert not in expected}
    assert fires & silent
    assert silent - fires


# --- manners ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: "-".join(known(alert)))
def test_every_alert_has_what_people_need(alert: dict[str, Any]) -> None:
    name, severity = known(alert)
    assert severity in ("critical", "warning", "info")
    assert set(alert["annotations"]) == {"summary", "description", "runbook"}
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    assert ROOT / page == RUNBOOK
    assert anchor == name.lower()
    assert f"\n### {name}\n" in RUNBOOK.read_text("utf-8")


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: "-".join(known(alert)))
def test_no_alert_fires_for_one_scrape(alert: dict[str, Any]) -> None:
    """It has to last, or it counts what lasts: counters do not mind a scrape that fails."""
    if "for" not in alert:
        assert "increase(" in alert["expr"]
        return
    number, unit = int(alert["for"][:-1]), alert["for"][-1]
    assert number * {"s": 1, "m": 60}[unit] >= 30


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_clusters_are_kept_apart(rule: dict[str, Any]) -> None:
    for grouping in re.findall(r"\b(?:by|on) \(([^)]*)\)", rule["expr"]):
        assert {"job", "cluster"} <= set(grouping.split(", "))
    assert "without" not in rule["expr"]
    assert "ignoring" not in rule["expr"]


def exported() -> set[str]:
    """Every name of the agent, with those that a histogram is told by."""
    names = {family.name for family in FAMILIES}
    histograms = {family.name for family in FAMILIES if family.kind is Kind.HISTOGRAM}
    return names | {f"{name}{suffix}" for name in histograms for suffix in ("_bucket", "_sum", "_count")}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_rules_ask_for_what_there_is(rule: dict[str, Any]) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    asked = metrics(rule["expr"])
    assert asked
    assert asked - exported() - FOREIGN - recorded == set()


def test_every_record_is_of_use() -> None:
    asked = {name for alert in alerts() for name in metrics(alert["expr"])}
    assert {rule["record"] for rule in rules() if "record" in rule} - asked == set()


def test_the_dashboard_asks_for_what_there_is() -> None:
    asked = {name for _, expression in expressions() for name in metrics(expression)}
    assert asked - exported() - FOREIGN == set()
    assert "healthagent_probe_duration_seconds_bucket" in asked


# --- the dashboard ---------------------------------------------------------------------------------------------------


def test_the_dashboard_can_be_imported() -> None:
    """What Grafana 10 to 12 wants: a data source to choose, variables, panels with places and numbers of their own."""
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard["id"] is None
    assert dashboard["schemaVersion"] >= 38
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert list(variables) == ["datasource", "cluster", "instance", "role"]
    assert variables["datasource"]["type"] == "datasource"
    every = dashboard["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    for panel in panels():
        assert panel["description"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_no_panel_lies_upon_another() -> None:
    places = [(panel["title"], panel["gridPos"]) for panel in json.loads(DASHBOARD.read_text())["panels"]]
    for (one, a), (other, b) in combinations(places, 2):
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"], (one, other)
    assert all(place["x"] + place["w"] <= 24 for _, place in places)


@pytest.mark.parametrize(("title", "expression"), expressions())
def test_variables_are_those_that_are_filled_in(title: str, expression: str) -> None:
    whole = filled_in(expression, cluster="shop", instances=["10.0.0.1:9200", "db"], role="any", interval="1m")
    assert "$" not in whole
    assert 'cluster="shop"' in whole
    if "instance=~" in whole:
        assert r'instance=~"(10\\.0\\.0\\.1:9200|db)"' in whole


@pytest.mark.parametrize("page", [EXAMPLES / "README.md", RUNBOOK], ids=lambda page: page.name)
def test_pages_speak_of_alerts_that_there_are(page: Path) -> None:
    names = {alert["alert"] for alert in alerts()}
    assert set(re.findall(r"Healthagent[A-Z]\w+", page.read_text("utf-8"))) - names == set()


def test_what_alertmanager_is_told() -> None:
    """As far as YAML and names go: it groups, routes and inhibits by labels that the alerts have."""
    block = (EXAMPLES / "README.md").read_text("utf-8").split("```yaml\n")[1].split("```")[0]
    told = yaml.safe_load(block)
    labels = {"alertname", "job", "cluster", "instance", "connection"}
    assert set(told["route"]["group_by"]) < labels
    for rule in told["inhibit_rules"]:
        assert set(rule["equal"]) <= labels
    matchers = [
        matcher for rule in told["inhibit_rules"] for matcher in rule["source_matchers"] + rule["target_matchers"]
    ]
    matchers += [matcher for route in told["route"]["routes"] for matcher in route["matchers"]]
    assert {re.split(r"[=!]", matcher)[0] for matcher in matchers} == {"severity", "alertname"}


def test_the_readme_lists_them() -> None:
    text = (EXAMPLES / "README.md").read_text("utf-8")
    files = [path.name for path in EXAMPLES.iterdir() if path.name != "README.md"]
    assert [name for name in files if f"| [{name}]({name}) |" not in text] == []
