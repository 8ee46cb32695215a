# What a reader holds the results against: the data itself, and what can be had without a pixel.

from btxrd.audit.outputs import AUDIT_FILES, PAGE

AUDIT_CODE = library_files("audit")
PAGES_CODE = library_files("pages")


EVALUATION_CODE = [
    f"evaluation/{name}.py" for name in ("calibration", "evaluate", "figures", "inference", "subgroups", "thresholds")
]
METRICS_CODE = ("evaluation/bootstrap.py", "evaluation/judgement.py", "evaluation/metrics.py")


rule evaluate:
    """Judge the best epoch on val and test: predictions, metrics with intervals, pictures."""
    input:
        **{name: path for name, path in split_tables().items() if name != "train"},
        checkpoint=checkpoint_file("best"),
        summary=ancient(str(paths.split_summary(CONFIG, "{split}"))),
        metadata=rules.table.output.metadata,
        annotations=str(paths.annotations(CONFIG)),
        array=ancient(rules.cache.output.array),
        index=rules.cache.output.index,
        code=code(*EVALUATION_CODE, *METRICS_CODE),
    output:
        predictions=split_file("predictions.csv"),
        metrics=split_file(METRICS),
        inference=split_file("inference.json"),
        pictures=[
            report(
                split_file(name),
                caption="../report/evaluation.rst",
                category="Evaluation",
                labels=labels_of("Picture", title),
            )
            for title, name in EVALUATION_PICTURES.items()
        ],
    log:
        "logs/evaluate_{run}{split}.log",
    benchmark:
        "benchmarks/evaluate_{run}{split}.tsv"
    conda:
        "../../envs/btxrd.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=6000,
        runtime=60,
    params:
        run=run_of,
    shell:
        "btxrd evaluate" " --override {params.run}" " --threads {threads}" " --gpus {resources.gpu}" " --log {log:q}"


rule audit:
    """Show the data and its splits, and fail on what makes results wrong."""
    input:
        metadata=rules.table.output.metadata,
        cases=rules.cases.output.cases,
        duplicates=rules.cases.output.duplicates,
        annotations=str(paths.annotations(CONFIG)),
        array=ancient(rules.cache.output.array),  # its index, which holds its hash, tells of a change
        index=rules.cache.output.index,
        splits=expand([*split_tables().values(), rules.split.output.summary], split=PLANS),
        code=code(*AUDIT_CODE, *PAGES_CODE),
    output:
        page=report(
            str(paths.audit_folder(CONFIG) / PAGE),
            caption="../report/audit.rst",
            category="Data",
            labels={"Page": "audit of the data"},
        ),
        others=[str(paths.audit_folder(CONFIG) / name) for name in AUDIT_FILES if name != PAGE],
    log:
        "logs/audit.log",
    benchmark:
        "benchmarks/audit.tsv"
    conda:
        "../../envs/btxrd.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=settings("data.source", "data.conflicting_labels"),
    shell:
        "btxrd audit" " --log {log:q}"


rule baselines:
    """Classify without a pixel, so that a reader sees what the network adds."""
    input:
        **split_tables(),
        metadata=rules.table.output.metadata,
        summary=str(paths.split_summary(CONFIG, "{split}")),
        code=code("evaluation/baselines.py", *METRICS_CODE),
    output:
        json=main_file("baselines.json"),
    log:
        "logs/baselines_{split}.log",
    benchmark:
        "benchmarks/baselines_{split}.tsv"
    conda:
        "../../envs/btxrd.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=settings("seed"),
    shell:
        "btxrd baselines" " --override training.split_strategy={wildcards.split}" " --log {log:q}"


rule explain:
    """See where the network looks, on every outlined tumour of test, against the outlines and two baselines."""
    input:
        test=split_tables()["test"],
        checkpoint=checkpoint_file("best"),
        summary=ancient(str(paths.split_summary(CONFIG, "{split}"))),
        annotations=str(paths.annotations(CONFIG)),
        array=ancient(rules.cache.output.array),
        index=rules.cache.output.index,
        code=code("evaluation/inference.py", "data/outlines.py", *library_files("explain")),
    output:
        facts=split_file("explanation.json"),
        tumours=split_file("explanation.csv"),
        pictures=[
            report(
                split_file(name),
                caption="../report/explanation.rst",
                category="Explanation",
                labels=labels_of("Picture", title),
            )
            for title, name in EXPLANATION_PICTURES.items()
        ],
    log:
        "logs/explain_{run}{split}.log",
    benchmark:
        "benchmarks/explain_{run}{split}.tsv"
    conda:
        "../../envs/btxrd.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=6000,
        runtime=60,
    params:
        run=run_of,
    shell:
        "btxrd explain" " --override {params.run}" " --threads {threads}" " --gpus {resources.gpu}" " --log {log:q}"


rule compare:
    """Put the splits side by side, with what needs no pixels and with what was published."""
    input:
        metrics=expand(split_file(METRICS), split=PLANS, run=["", *FURTHER_RUNS]),
        predictions=expand(split_file("predictions.csv"), split=PLANS, run=""),
        baselines=expand(main_file("baselines.json"), split=PLANS),
        summaries=expand(rules.split.output.summary, split=PLANS),
        code=code("evaluation/compare.py", "evaluation/published.yaml", *METRICS_CODE, *PAGES_CODE),
    output:
        csv=str(paths.comparison(CONFIG, "csv")),
        page=report(
            str(paths.comparison(CONFIG, "html")),
            caption="../report/comparison.rst",
            category="Comparison",
            labels={"Page": "splits side by side"},
        ),
        picture=str(paths.comparison(CONFIG, "png")),
    log:
        "logs/compare.log",
    benchmark:
        "benchmarks/compare.tsv"
    conda:
        "../../envs/btxrd.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=settings("data.source", "replicates"),
    shell:
        "btxrd compare" " --log {log:q}"


rule card:
    """Write the model card, every figure from the files of the evaluation."""
    input:
        metrics=expand(split_file(METRICS), split=PLANS, run=""),
        summaries=expand(rules.split.output.summary, split=PLANS),
        archive=[] if CONFIG["data"]["source"] == "phantom" else rules.download.output.record,
        code=code("evaluation/card.py", "evaluation/checklist.yaml", *PAGES_CODE),
    output:
        card=str(paths.model_card(CONFIG)),
    log:
        "logs/card.log",
    benchmark:
        "benchmarks/card.tsv"
    localrule: True
    conda:
        "../../envs/btxrd.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=settings("data.source", "replicates"),
    shell:
        "btxrd card" " --log {log:q}"
