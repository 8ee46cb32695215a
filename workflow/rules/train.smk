# ImageNet weights, and the training of each split.


def pretrained(wildcards):
    """The weights that the training of a split starts from, if from any."""
    file = paths.pretrained_weights(config_of_split(CONFIG, wildcards.split))
    return [str(file)] if file else []


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
        **{name: path for name, path in split_tables().items() if name != "test"},
        **cached_films(),
        summary=ancient(SUMMARY),  # its caveats; the tables tell of a change
        weights=pretrained,
        code=code(*paths.TRAINING_CODE),
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
        gpu=lambda wildcards: config_of_split(CONFIG, wildcards.split)["training"]["devices"],
        mem_mb=8000,
        runtime=720,
    params:
        call=call,
        run=run_of,
        settings=settings_of_run(*training_keys()),
    shell:
        btxrd("train --override {params.run} --threads {threads} --gpus {resources.gpu}")
