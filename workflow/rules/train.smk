# ImageNet weights, and the training of each split.


rule weights:
    """Fetch the ImageNet weights and check them."""
    output:
        file=str(paths.fetched_weights("{backbone}")),
    log:
        "logs/weights_{backbone}.log",
    benchmark:
        "benchmarks/weights_{backbone}.tsv"
    localrule: True
    conda:
        "../../envs/btxrd.yaml"
    resources:
        mem_mb=500,
        runtime=30,
    params:
        call=call,
    shell:
        btxrd("weights --override model.backbone={wildcards.backbone}")


rule train:
    """Train on one split. The state of a running training lies in checkpoints/.state/<split>, which is no output:
    Snakemake deletes the outputs of a job that fails."""
    input:
        **split_tables() | {"test": ancient(split_tables()["test"])},  # of test its hash alone, for the record
        **cached_films(),
        summary=ancient(SUMMARY),  # its caveats; the tables tell of a change
        weights=pretrained,
    output:
        best=checkpoint_file("best"),
        final=checkpoint_file("final"),
        log=split_file("training_log.csv"),
        curves=report(
            split_file("training_curves.png"),
            caption="../report/curves.rst",
            category="Training",
            labels=labels_of("Curve", "loss and recall"),
        ),
    log:
        "logs/train_{run}{split}.log",
    benchmark:
        "benchmarks/train_{run}{split}.tsv"
    conda:
        "../../envs/btxrd.yaml"
    threads: 8
    resources:
        gpu=lambda wildcards: config_of(wildcards.split)["training"]["devices"],
        mem_mb=8000,
        runtime=720,
    params:
        call=call,
        code=code(*paths.TRAINING_CODE),
        run=run_of,
        settings=settings_of_run(*training_keys()),
    shell:
        btxrd("train --override {params.run} --threads {threads} --gpus {resources.gpu}")
