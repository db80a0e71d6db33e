"""The job template of a Kubernetes work pool: rendered by Prefect's own worker, checked against Kubernetes' own schema."""

import asyncio
import json
import re
import uuid

import kubernetes_validate
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

from tests.workspaces import PROJECT

FOLDER = PROJECT / "deploy/kubernetes"


async def rendered(**variables):
    """The Job that the worker would create for a run."""
    template = json.loads((FOLDER / "job-template.json").read_text())
    configuration = await KubernetesWorkerJobConfiguration.from_template_and_values(template, variables)
    configuration.prepare_for_flow_run(FlowRun(id=uuid.uuid4(), flow_id=uuid.uuid4(), name="demo: baseline, rho1"))
    return configuration.job_manifest


@pytest.mark.parametrize("version", ["1.33", "1.35"])
@pytest.mark.parametrize("variables", [{}, {"gpus": "1", "node_selector": {"pool": "a100"}, "service_account_name": "runner"}])
def test_the_job_is_what_kubernetes_accepts(server, variables, version):
    with temporary_settings({PREFECT_API_URL: server}):
        job = asyncio.run(rendered(image="registry.example.org/wmtp", **variables))
    kubernetes_validate.validate(job, version, strict=True)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == variables.get("gpus", "8")
    assert {one["name"]: one.get("value") for one in container["env"]}["WMTP_LAUNCH"] == "gpu"
    assert (PROJECT / "configs/launch/gpu.yaml").exists()
    assert container["args"][:2] == ["prefect", "flow-run"]


def test_the_image_copies_what_there_is():
    for line in re.findall(r"^COPY (.*)$", (FOLDER / "Dockerfile").read_text(), re.MULTILINE):
        *sources, _ = line.split()
        assert all((PROJECT / source).exists() for source in sources)


def test_deployments_are_made_for_a_kubernetes_pool(light):
    template = FOLDER / "job-template.json"
    light.run("prefect", "work-pool", "create", "wmtp-gpu", "--type", "kubernetes", "--base-job-template", str(template))
    options = ["--name", "full-rho1", "--pool", "wmtp-gpu", "--job-variable", "image=registry.example.org/wmtp"]
    light.run("prefect", "--no-prompt", "deploy", *options)
    made = json.loads(light.run("prefect", "deployment", "inspect", "wmtp/full-rho1", "--output", "json"))
    assert (made["work_pool_name"], made["job_variables"]) == ("wmtp-gpu", {"image": "registry.example.org/wmtp"})
