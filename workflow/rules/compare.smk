# All splits together, for a reader.


rule compare:
    """Put the splits side by side, with what needs no pixels and with what was published."""
    input:
        metrics=expand(split_file(METRICS), split=PLANS, run=["", *FURTHER_RUNS]),
        predictions=expand(split_file("predictions.csv"), split=PLANS, run=""),
        baselines=expand(main_file("baselines.json"), split=PLANS),
        summaries=expand(SUMMARY, split=PLANS),
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
    localrule: True
    conda:
        "../../envs/btxrd.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        call=call,
        code=code("evaluation/compare.py", "evaluation/published.yaml", *METRICS_CODE, *library_files("pages")),
        settings=settings("data.source", "replicates"),
    shell:
        btxrd("compare")


rule card:
    """Write the model card, every figure from the files of the evaluation."""
    input:
        metrics=expand(split_file(METRICS), split=PLANS, run=""),
        summaries=expand(SUMMARY, split=PLANS),
        archive=[] if CONFIG["data"]["source"] == "phantom" else rules.download.output.record,
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
        call=call,
        code=code("evaluation/card.py", "evaluation/checklist.yaml", *library_files("pages")),
        settings=settings("data.source", "replicates"),
    shell:
        btxrd("card")
