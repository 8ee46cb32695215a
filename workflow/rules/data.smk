# From the archive, or from nothing, to cached films and split tables.

RAW = paths.raw_folder(CONFIG)
UNPACKED = Path(CONFIG["data"]["raw_dir"])


rule download:
    """Fetch the archive, or take the one that is there, and check it. Only the record of that is an output:
    the archive may be a person's own file, which Snakemake must never delete."""
    output:
        record=str(paths.archive_record(CONFIG)),
    log:
        "logs/download.log",
    benchmark:
        "benchmarks/download.tsv"
    localrule: True
    conda:
        "../../envs/btxrd.yaml"
    resources:
        mem_mb=500,
        runtime=120,
    params:
        call=call,
        settings=settings("data.archive", "data.sha256"),
    shell:
        btxrd("download")


rule extract:
    """Unpack the archive: films, annotations and the table."""
    input:
        record=rules.download.output.record,
    output:
        images=directory(UNPACKED / "images"),
        annotations=directory(UNPACKED / "Annotations"),
        table=str(UNPACKED / "dataset.xlsx"),
    log:
        "logs/extract.log",
    benchmark:
        "benchmarks/extract.tsv"
    conda:
        "../../envs/btxrd.yaml"
    resources:
        mem_mb=500,
        runtime=20,
    params:
        call=call,
    shell:
        btxrd("extract")


rule phantom:
    """Draw synthetic films in the layout of BTXRD, the embedded data."""
    output:
        images=directory(paths.PHANTOMS / "images"),
        annotations=directory(paths.PHANTOMS / "Annotations"),
        table=str(paths.PHANTOMS / "dataset.xlsx"),
        train_names=str(paths.PHANTOMS / "case_names_train.xlsx"),
        val_names=str(paths.PHANTOMS / "case_names_val.xlsx"),
    log:
        "logs/phantom.log",
    benchmark:
        "benchmarks/phantom.tsv"
    conda:
        "../../envs/btxrd.yaml"
    threads: 8
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        call=call,
        code=code("data/phantom.py", "data/phantom_drawing.py"),
        settings=settings("seed", "data.phantom"),
    shell:
        btxrd("phantom --threads {threads}")


rule table:
    """Check the table and every film; list all that is wrong at once."""
    input:
        table=str(RAW / "dataset.xlsx"),
        images=str(RAW / "images"),
    output:
        metadata=str(paths.METADATA),
    log:
        "logs/table.log",
    benchmark:
        "benchmarks/table.tsv"
    conda:
        "../../envs/btxrd.yaml"
    threads: 8
    resources:
        mem_mb=4000,
        runtime=20,
    params:
        call=call,
        code=code("data/table.py", "data/decoding.py"),
        settings=settings("data.expected_counts"),
    shell:
        btxrd("table --threads {threads}")


rule cache:
    """Decode every film once, to the size that is trained on."""
    input:
        metadata=rules.table.output.metadata,
        images=ancient(str(RAW / "images")),  # metadata holds the hash of each
    output:
        films=str(paths.cache_array(CONFIG)),
        ids=str(paths.cache_ids(CONFIG)),
        index=str(paths.cache_index(CONFIG)),
    log:
        "logs/cache.log",
    benchmark:
        "benchmarks/cache.tsv"
    conda:
        "../../envs/btxrd.yaml"
    threads: 8
    resources:
        mem_mb=4000,
        runtime=20,
    params:
        call=call,
        code=code("data/cache.py", "data/decoding.py"),
        settings=settings("data.image_size", "data.resize"),
    shell:
        btxrd("cache --threads {threads}")


rule case_names:
    """Fetch the authors' tables of original file names and check them. Only the record of what they say is an output:
    without network the run goes on, cases unknown, and says so."""
    input:
        local=[source for source in paths.case_name_sources(CONFIG) if isinstance(source, str)],
    output:
        record=str(paths.CASE_NAMES_RECORD),
    log:
        "logs/case_names.log",
    benchmark:
        "benchmarks/case_names.tsv"
    localrule: True
    conda:
        "../../envs/btxrd.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        call=call,
        code=code("data/cases.py"),
        settings=settings("data.case_names"),
    shell:
        btxrd("case_names")


rule cases:
    """Find out which films show the same case: by the original file names, and as duplicates."""
    input:
        **cached_films(),
        metadata=rules.table.output.metadata,
        names=rules.case_names.output.record,
    output:
        cases=str(paths.CASES),
        duplicates=str(paths.DUPLICATES),
    log:
        "logs/cases.log",
    benchmark:
        "benchmarks/cases.tsv"
    conda:
        "../../envs/btxrd.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        call=call,
        code=code("data/cases.py", "data/duplicates.py"),
        settings=settings("data.duplicate_distance"),
    shell:
        btxrd("cases")


rule split:
    """Put the cases into train, val and test; fail where a case is on two sides and the strategy promises it is not."""
    input:
        metadata=rules.table.output.metadata,
        cases=rules.cases.output.cases,
        names=rules.case_names.output.record,
        manifest=lambda wildcards: PLANS[wildcards.split].file or [],
    output:
        **split_tables(),
        summary=SUMMARY,
    log:
        "logs/split_{split}.log",
    benchmark:
        "benchmarks/split_{split}.tsv"
    localrule: True
    conda:
        "../../envs/btxrd.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        call=call,
        code=code("data/splits.py", "data/leakage.py"),
        settings=settings("data.conflicting_labels"),
        plan=lambda wildcards: PLANS[wildcards.split].settings(),
    shell:
        btxrd("split --override training.split_strategy={wildcards.split}")
