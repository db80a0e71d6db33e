"""The job template of a Kubernetes work pool: rendered by Prefect's own worker, checked against Kubernetes' own schema."""

import asyncio
import json
import re
import shutil
import subprocess
import uuid

import kubernetes_validate
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

import wmtp
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


class Builder:
    """A tool that makes images, its images and containers in a folder of its own where it has none for all."""

    def __init__(self, tool, folder):
        self.tool, self.folder = tool, folder
        self.command = [tool] if tool == "docker" else [tool, "--root", folder / "images", "--runroot", folder / "run"]
        self.isolation = ["--isolation", "chroot"] if tool == "buildah" else []

    def __call__(self, *arguments):
        done = subprocess.run([*self.command, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, f"{self.tool} {arguments[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout.strip()

    def can(self, *arguments):
        return subprocess.run([*self.command, *arguments], capture_output=True, text=True)

    def take(self, archive, name):
        """An image of one layer."""
        if self.tool != "buildah":
            self("import", archive, name)
            return
        container = self("from", "scratch")
        self("add", container, archive, "/")
        self("commit", "--rm", container, name)

    def run(self, image, script):
        if self.tool != "buildah":
            return self("run", "--rm", "--entrypoint", "sh", image, "-c", script)
        container = self("from", image)
        return self("run", *self.isolation, container, "--", "sh", "-c", script)


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    said = []
    for tool in ("buildah", "podman", "docker"):
        if shutil.which(tool) is None:
            said.append(f"{tool} is not installed")
            continue
        found = Builder(tool, tmp_path_factory.mktemp("images"))
        answer = found.can("info")
        if answer.returncode == 0:
            return found
        said.append(f"{tool}: {(answer.stderr or answer.stdout).strip().splitlines()[-1]}")
    pytest.skip(f"nothing here can build an image: {'; '.join(said)}")


@pytest.fixture(scope="module")
def base(builder, tmp_path_factory):
    """The Dockerfile's own base, or where no registry can be reached, a Debian with the same Python."""
    (own,) = re.findall(r"^ARG BASE=(.*)$", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
    pulled = builder.can("pull", own)
    if pulled.returncode == 0:
        return own
    if shutil.which("mmdebstrap") is None:
        pytest.skip(f"no base for the image: {pulled.stderr.strip().splitlines()[-1]}; and no mmdebstrap to make one")
    archive = tmp_path_factory.mktemp("base") / "base.tar"
    packages = "--include=ca-certificates,python3,python3-pip"
    certificates = "/etc/ssl/certs/ca-certificates.crt"  # of the network that this machine is in
    steps = ('rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED', 'ln -s python3 "$1"/usr/bin/python')
    hooks = [f"--customize-hook={step}" for step in (*steps, f'cp {certificates} "$1"{certificates}')]
    command = ["mmdebstrap", "--quiet", "--variant=minbase", packages, *hooks, "bookworm", archive]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"no base for the image: {made.stderr.strip().splitlines()[-1]}")
    builder.take(archive, "localhost/wmtp-base")
    return "localhost/wmtp-base"


def test_the_image_is_built_and_has_what_a_run_needs(builder, base):
    """Without the packages from PyPI, which are gigabytes: constraints.txt has been installed where this test runs."""
    given = ["--build-arg", f"BASE={base}", "--build-arg", "PIP_OPTIONS=--no-deps"]
    file = ["--file", FOLDER / "Dockerfile", "--tag", "localhost/wmtp"]
    builder("build", *builder.isolation, *given, *file, PROJECT)
    tools = "tini --version && bwrap --version && git --version && unshare --version && nsenter --version"
    said = builder.run("localhost/wmtp", f"{tools} && python -c 'import wmtp; print(wmtp.__version__)' && env && pwd")
    assert "tini version" in said and "bubblewrap" in said and "git version" in said
    lines = said.splitlines()
    assert wmtp.__version__ in lines and "PYTHONPATH=/workspace/src:/workspace" in lines and lines[-1] == "/workspace"


def test_deployments_are_made_for_a_kubernetes_pool(light):
    template = FOLDER / "job-template.json"
    light.run("prefect", "work-pool", "create", "wmtp-gpu", "--type", "kubernetes", "--base-job-template", str(template))
    options = ["--name", "full-rho1", "--pool", "wmtp-gpu", "--job-variable", "image=registry.example.org/wmtp"]
    light.run("prefect", "--no-prompt", "deploy", *options)
    made = json.loads(light.run("prefect", "deployment", "inspect", "wmtp/full-rho1", "--output", "json"))
    assert (made["work_pool_name"], made["job_variables"]) == ("wmtp-gpu", {"image": "registry.example.org/wmtp"})
