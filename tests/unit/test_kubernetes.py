"""deploy/kubernetes: valid manifests, with the same commands as the compose file."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.settings import LARGER_BODIES, load_settings
from tests.support.compose import ROOT, read_compose

BASE = ROOT / "deploy" / "kubernetes"
SERVICES = ("payment-service", "notification-service")
#: Documented secret files of both services, and of each service.
SECRETS = {
    "rabbitmq_url": "amqps://user:password@rabbitmq.example.com/%2F",
    "redis_url": "rediss://redis.example.com/0",
    "mongodb_uri": "mongodb://mongo-0.example.com,mongo-1.example.com/movieapp?replicaSet=rs0",
    "payment_gateway_api_key": "sk_live_x",
    "suppression_key": "x" * 32,
}
OWN_SECRETS = {
    "payment-service": {"stripe_webhook_secret": "whsec_x", "dashboard_secret_key": "x" * 32},
    "notification-service": {"smtp_password": "x"},
}


def kustomization() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    return found


def documents() -> list[dict[str, Any]]:
    texts = [(BASE / name).read_text() for name in kustomization()["resources"]]
    return [document for text in texts for document in yaml.safe_load_all(text)]


def named(kind: str, name: str) -> Any:
    [found] = [
        document
        for document in documents()
        if (document["kind"], document["metadata"]["name"]) == (kind, name)
    ]
    return found


def pod(name: str) -> Any:
    return named("Deployment", name)["spec"]["template"]["spec"]


def container(name: str) -> Any:
    [found] = pod(name)["containers"]
    return found


@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
def test_every_document_follows_the_schema_of_its_kind(version: str) -> None:
    for document in documents():
        kubernetes_validate.validate(document, version, strict=True)


def test_kustomization_lists_exactly_the_existing_files() -> None:
    generated = [env for maps in kustomization()["configMapGenerator"] for env in maps["envs"]]
    files = {path.name for path in BASE.iterdir()} - {"kustomization.yaml"}
    assert {*kustomization()["resources"], *generated} == files


@pytest.mark.parametrize("name", SERVICES)
def test_pods_run_and_check_the_same_commands_as_compose(name: str) -> None:
    service = read_compose()["services"][name]
    assert " ".join(container(name)["command"]) == service["command"]
    assert pod(name)["terminationGracePeriodSeconds"] >= int(service["stop_grace_period"].rstrip("s"))
    for variable in container(name)["env"]:
        assert service["environment"].get(variable["name"], variable["value"]) == variable["value"]
    for probe in ("startupProbe", "livenessProbe"):
        match container(name)[probe]:
            case {"httpGet": {"path": path, "port": "http"}}:
                assert f":8003{path}'" in service["healthcheck"]["test"][-1]
            case {"exec": {"command": [_, _, line]}}:
                assert line == service["healthcheck"]["test"][-1]
            case other:
                pytest.fail(f"{probe}: {other}")


@pytest.mark.parametrize("name", SERVICES)
def test_a_pod_is_restricted(name: str) -> None:
    """Pods meet the "restricted" standard and more:
    https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    assert pod(name)["securityContext"]["runAsNonRoot"] is True
    assert f"USER {pod(name)['securityContext']['runAsUser']}" in (ROOT / "Dockerfile").read_text()
    assert pod(name)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod(name)["automountServiceAccountToken"] is False
    assert named("ServiceAccount", pod(name)["serviceAccountName"])["automountServiceAccountToken"] is False
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(container(name)["resources"]) == {"requests", "limits"}


@pytest.mark.parametrize("name", SERVICES)
def test_services_and_policies_select_their_deployment(name: str) -> None:
    deployment = named("Deployment", name)
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert named("PodDisruptionBudget", name)["spec"]["selector"]["matchLabels"] == labels
    assert named("HorizontalPodAutoscaler", name)["spec"]["scaleTargetRef"] == {
        "apiVersion": deployment["apiVersion"],
        "kind": "Deployment",
        "name": name,
    }
    assert named("NetworkPolicy", name)["spec"]["podSelector"]["matchLabels"] == labels
    assert "replicas" not in deployment["spec"], "they are the autoscaler's"
    spread = pod(name)["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]
    assert spread == labels


def test_the_ingress_exposes_the_service_without_private_paths() -> None:
    ingress = named("Ingress", "payment-service")
    [rule] = ingress["spec"]["rules"]
    paths = {path["path"]: path["backend"]["service"] for path in rule["http"]["paths"]}
    assert set(paths) == {"/payment", "/notification", "/docs", "/health"}
    ports = [port["name"] for port in named("Service", "payment-service")["spec"]["ports"]]
    for backend in paths.values():
        assert (backend["name"], backend["port"]["name"] in ports) == ("payment-service", True)
    assert ingress["spec"]["tls"][0]["hosts"] == [rule["host"]]
    settings = (BASE / "settings.env").read_text()
    assert f"PUBLIC_URL=https://{rule['host']}\n" in settings
    annotations = ingress["metadata"]["annotations"]
    values = {
        "proxy-body-size": "64k",
        "proxy-request-buffering": "on",
        "proxy-next-upstream": "off",
        "enable-access-log": "false",
    }
    for name, value in values.items():
        assert annotations[f"nginx.ingress.kubernetes.io/{name}"] == value


def body_limit(ingress: Any) -> int:
    size = ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"]
    return int(size.removesuffix("k")) * 1024


def test_the_ingress_accepts_larger_bodies_exactly_where_the_api_does() -> None:
    ingresses = [document for document in documents() if document["kind"] == "Ingress"]
    limits = {
        path["path"]: body_limit(ingress)
        for ingress in ingresses
        for path in ingress["spec"]["rules"][0]["http"]["paths"]
        if path["pathType"] == "Exact"
    }
    assert limits.keys() == LARGER_BODIES.keys()
    for path, size in LARGER_BODIES.items():
        assert limits[path] >= size, path


def test_the_ingress_for_larger_bodies_differs_in_nothing_else() -> None:
    main = named("Ingress", "payment-service")
    larger = named("Ingress", "payment-service-bounces")
    [main_rule], [larger_rule] = main["spec"].pop("rules"), larger["spec"].pop("rules")
    assert larger_rule["host"] == main_rule["host"]
    assert larger_rule["http"]["paths"][0]["backend"] == main_rule["http"]["paths"][0]["backend"]
    for ingress in (main, larger):
        del ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"]
    assert larger["spec"] == main["spec"]
    assert larger["metadata"]["annotations"] == main["metadata"]["annotations"]


def test_the_service_selects_the_api() -> None:
    service = named("Service", "payment-service")["spec"]
    assert service["selector"] == named("Deployment", "payment-service")["spec"]["selector"]["matchLabels"]
    ports = {port["name"]: port["containerPort"] for port in container("payment-service")["ports"]}
    assert ports[service["ports"][0]["targetPort"]] == 8003


@pytest.mark.parametrize("name", SERVICES)
def test_production_starts_with_the_documented_secrets(name: str, tmp_path: Path) -> None:
    secrets = SECRETS | OWN_SECRETS[name]
    for file, value in secrets.items():
        (tmp_path / file).write_text(value)
    maps = {maps["name"]: maps["envs"] for maps in kustomization()["configMapGenerator"]}
    files = [
        BASE / env for source in container(name)["envFrom"] for env in maps[source["configMapRef"]["name"]]
    ]
    settings = load_settings(files, tmp_path)
    if name == "payment-service":
        settings.require_api_secrets()
    assert (settings.app_env, settings.auth_required, settings.is_gateway_live) == ("production", True, True)
    [mount] = [mount for mount in container(name)["volumeMounts"] if mount["name"] == "secrets"]
    assert {"name": "SECRETS_DIR", "value": mount["mountPath"]} in container(name)["env"]

    docs = (ROOT / "docs" / "deployment.md").read_text()
    created = docs[docs.index(f"create secret generic {name}") :].split("```")[0].split("kubectl")[0]
    assert set(re.findall(r"--from-file=(\w+)", created)) == set(secrets)


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl: not installed")
def test_kubectl_builds_the_manifests_with_generated_names() -> None:
    built = subprocess.run(
        ["kubectl", "kustomize", BASE], capture_output=True, text=True, timeout=60, check=True
    )
    found = list(yaml.safe_load_all(built.stdout))
    maps = {document["metadata"]["name"] for document in found if document["kind"] == "ConfigMap"}
    assert len(maps) == 2
    assert len(found) == len(documents()) + len(maps)
    for document in found:
        kubernetes_validate.validate(document, "1.30", strict=True)
        assert document["metadata"]["labels"]["app.kubernetes.io/part-of"] == "movieapp"
        if document["kind"] == "Deployment":
            template = document["spec"]["template"]
            assert template["metadata"]["labels"]["app.kubernetes.io/part-of"] == "movieapp"
            [container] = template["spec"]["containers"]
            assert container["image"] != "movieapp", "from the registry that images names"
            assert {source["configMapRef"]["name"] for source in container["envFrom"]} <= maps
