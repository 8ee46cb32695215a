# What is known before a network is trained: the data itself, and what can be had without a pixel.

from btxrd.audit.outputs import AUDIT_FILES, PAGE


rule audit:
    """Show the data and its splits, and fail on what makes results wrong."""
    input:
        **cached_films(),
        metadata=rules.table.output.metadata,
        cases=rules.cases.output.cases,
        duplicates=rules.cases.output.duplicates,
        annotations=str(paths.annotations(CONFIG)),
        splits=expand([*split_tables().values(), SUMMARY], split=PLANS),
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
    localrule: True
    conda:
        "../../envs/btxrd.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        call=call,
        code=code(*library_files("audit"), *library_files("pages")),
        settings=settings("data.source", "data.conflicting_labels"),
    shell:
        btxrd("audit")


rule baselines:
    """Classify without a pixel, so that a reader sees what the network adds."""
    input:
        **split_tables(),
        metadata=rules.table.output.metadata,
        summary=SUMMARY,
    output:
        json=main_file("baselines.json"),
    log:
        "logs/baselines_{split}.log",
    benchmark:
        "benchmarks/baselines_{split}.tsv"
    localrule: True
    conda:
        "../../envs/btxrd.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        call=call,
        code=code("evaluation/baselines.py", *METRICS_CODE),
        settings=settings("seed"),
    shell:
        btxrd("baselines --override training.split_strategy={wildcards.split}")
