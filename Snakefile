# Snakemake's side of a sweep. `python -m rin.sweep` (make sweep) writes the plan this file reads
# and starts it: one job for each (page copy, backbone, init), then the pages, then the book.
#
# A step's record is its output, written last; its log is a log, so that a failed one is kept.
# `inputs.json` changes with the page, the code of `rin` and the data, so they repeat a step too;
# training runs that are still the same are skipped by their own fingerprints.
import json
import shlex
import sys
from pathlib import Path

if "plan" not in config:
    raise WorkflowError("start this through `python -m rin.sweep --profile …` (make sweep)")

PLAN = json.loads(Path(config["plan"]).read_text())
STEPS = {step["out"]: step for step in PLAN["steps"]}
KERNEL = f"--kernel {shlex.quote(PLAN['kernel'])}" if PLAN["kernel"] else ""
PYTHON = sys.executable
UNIT = (
    "{PYTHON:q} -m rin.gpus {resources.gpu} rin.run {params.template:q}"
    " -f {input.params:q} --out {wildcards.out:q} {KERNEL} --wait > {log:q} 2>&1"
)


def template(wildcards):
    return STEPS[wildcards.out]["template"]


def before(wildcards):
    return [f"{out}/record.json" for out in STEPS[wildcards.out]["after"]]


localrules:
    book,
    pages,


rule book:
    input:
        [f"{out}/record.json" for out, step in STEPS.items() if step["rule"] == "page"],
    log:
        f"{PLAN['home']}/book.log",
    shell:
        "{PYTHON:q} -m rin.sweep --book {config[plan]:q} > {log:q} 2>&1"


rule pages:
    input:
        rules.book.input,


rule train:
    input:
        before,
        params="{out}/params.yaml",
        inputs="{out}/inputs.json",
    output:
        "{out}/record.json",
    log:
        "{out}/log.txt",
    wildcard_constraints:
        out=r"runs/[^/]+/jobs/.+",
    params:
        template=template,
    resources:
        gpu=lambda wildcards: STEPS[wildcards.out]["gpu"],
    retries: 1
    shell:
        UNIT


rule page:
    input:
        before,
        params="{out}/params.yaml",
        inputs="{out}/inputs.json",
    output:
        "{out}/record.json",
    log:
        "{out}/log.txt",
    wildcard_constraints:
        out=r"runs/[^/]+/pages/.+",
    params:
        template=template,
    resources:
        gpu=0,
    retries: 1
    shell:
        UNIT
