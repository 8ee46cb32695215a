# Curves, from the log alone: changing a picture never retrains.


rule plot:
    """Draw the loss and the recall curve of a split."""
    input:
        log=split_file("training_log.csv"),
        summary=SUMMARY,
    output:
        loss=report(
            split_file("loss_curve.png"),
            caption="../report/curves.rst",
            category="Training",
            labels=labels_of("Curve", "loss"),
        ),
        recall=report(
            split_file("recall_curve.png"),
            caption="../report/curves.rst",
            category="Training",
            labels=labels_of("Curve", "recall by class"),
        ),
    log:
        "logs/plot_{run}{split}.log",
    benchmark:
        "benchmarks/plot_{run}{split}.tsv"
    localrule: True
    conda:
        "../../envs/btxrd.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        call=call,
        code=code("plots.py"),
        run=run_of,
        settings=settings("data.source"),
    shell:
        btxrd("plot --override {params.run}")
