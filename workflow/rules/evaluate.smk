# Each trained network on films it has not seen: how good it is, and where it looks.

EVALUATION_CODE = [
    "training/trained.py",
    *(
        f"evaluation/{name}.py"
        for name in ("calibration", "companion", "evaluate", "figures", "inference", "subgroups", "thresholds")
    ),
]


rule evaluate:
    """Judge the best epoch on val and test: predictions, metrics with intervals, pictures."""
    input:
        **{name: path for name, path in split_tables().items() if name != "train"},
        **cached_films(),
        checkpoint=checkpoint_file("best"),
        summary=ancient(SUMMARY),
        metadata=rules.table.output.metadata,
        annotations=str(paths.annotations(CONFIG)),
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
        call=call,
        code=code(*EVALUATION_CODE, *METRICS_CODE),
        run=run_of,
    shell:
        btxrd("evaluate --override {params.run} --threads {threads} --gpus {resources.gpu}")


rule explain:
    """See where the network looks, on every outlined tumour of test, against the outlines and two baselines."""
    input:
        **cached_films(),
        test=split_tables()["test"],
        checkpoint=checkpoint_file("best"),
        summary=ancient(SUMMARY),
        annotations=str(paths.annotations(CONFIG)),
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
        call=call,
        code=code("training/trained.py", "evaluation/inference.py", "data/outlines.py", *library_files("explain")),
        run=run_of,
    shell:
        btxrd("explain --override {params.run} --threads {threads} --gpus {resources.gpu}")
