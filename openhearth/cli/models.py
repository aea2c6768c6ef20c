"""`hearth models`: the models that are known, and those that are here."""

from __future__ import annotations

from typing import Annotated

import typer

from openhearth.cli.options import JsonOption, ModelArgument, PrecisionOption, QuietOption, settings_with


def list_models(json: JsonOption = False) -> None:
    """List the catalog and what has been pulled."""
    from openhearth.cli.console import write_json, write_table
    from openhearth.models.catalog import load_catalog
    from openhearth.models.pull import list_pulled

    catalog = load_catalog()
    pulled = list_pulled()
    rows: list[tuple[str, ...]] = []
    for entry in catalog.values():
        here = [model for model in pulled if model.reference == entry.name]
        state = ", ".join(f"{model.precision}, {_size(model.size)}" for model in here)
        rows.append((entry.name, state, _size(entry.size), entry.kind, entry.title))
        if json:
            facts = {"name": entry.name, "kind": entry.kind, "title": entry.title, "licence": entry.licence}
            folders = {model.precision: str(model.folder) for model in here}
            write_json({**facts, "download_bytes": entry.size, "context": entry.context, "pulled": folders})
    for model in pulled:
        if model.reference in catalog:
            continue
        rows.append((model.name, f"{model.precision}, {_size(model.size)}", "", model.kind, model.reference))
        if json:
            facts = {"name": model.name, "kind": model.kind, "title": model.title}
            write_json({**facts, "reference": model.reference, "pulled": {model.precision: str(model.folder)}})
    if not json:
        write_table(("model", "here as", "download", "kind", "title"), rows)


def pull_model(
    reference: ModelArgument = None,
    precision: PrecisionOption = None,
    keep_raw: Annotated[
        bool, typer.Option("--keep-raw", help="Keep the fetched files beside the converted ones.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Fetch a model, verify and convert it; without REF, the default one. Prints its folder."""
    from openhearth.cli.console import write
    from openhearth.cli.progress import ProgressDisplay
    from openhearth.models.pull import pull

    settings = settings_with(model={"precision": precision})
    with ProgressDisplay(quiet=quiet) as progress:
        store = pull(reference or settings.model.default, settings, progress, keep_raw=keep_raw)
    write(str(store))


def show_model(
    reference: Annotated[str, typer.Argument(metavar="REF", help="A model reference.")], json: JsonOption = False
) -> None:
    """Print what is known about a model."""
    from openhearth.cli.console import write_facts, write_json
    from openhearth.models.catalog import load_catalog
    from openhearth.models.pull import list_pulled, resolve_reference

    by_name = {model.name: model for model in list_pulled()}
    known = by_name.get(reference)
    name = known.reference if known else resolve_reference(reference).name
    entry = load_catalog().get(name)
    here = [model for model in by_name.values() if name in (model.reference, model.name) or model is known]
    facts: dict[str, object] = {"name": name}
    if entry is not None:
        facts |= {"title": entry.title, "about": entry.summary, "kind": entry.kind, "licence": entry.licence}
        facts |= {"parameters": f"{entry.parameters:,}", "context": f"{entry.context:,} tokens"}
        facts |= {"download": _size(entry.size), "sha256": entry.sha256}
        facts |= {"sources": ", ".join(source.kind for source in entry.sources)}
    if json:
        write_json(
            {
                "reference": name,
                "catalog": entry.model_dump(mode="json") if entry else None,
                "pulled": {model.precision: str(model.folder) for model in here},
            }
        )
        return
    write_facts({**facts, "here": "\n".join(f"{m.folder} ({_size(m.size)})" for m in here) or "not pulled"})


def route_text(
    reference: Annotated[str, typer.Argument(metavar="REF", help="A router: router:FILE.yaml.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What a person might write.")],
    tools: Annotated[bool, typer.Option("--tools", help="As if tools were on offer.")] = False,
    json: JsonOption = False,
) -> None:
    """Say which model a router would send a message to, and why; none of its models is opened."""
    import asyncio

    from openhearth.cli.console import write_facts, write_json
    from openhearth.models.explain import explain_route

    routing = asyncio.run(explain_route(reference, text, settings_with(), tools=tools))
    if json:
        write_json(routing.model_dump(mode="json"))
        return
    scores = ", ".join(f"{name} {score:.2f}" for name, score in sorted(routing.scores.items(), key=lambda s: -s[1]))
    facts = {"route": routing.route, "model": routing.model, "because": routing.reason, "rule": routing.rule}
    write_facts({**{name: fact for name, fact in facts.items() if fact}, **({"scores": scores} if scores else {})})


def remove_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A reference or the name that `models list` shows.")],
) -> None:
    """Delete a pulled model; it can be pulled again."""
    from openhearth.cli.console import say
    from openhearth.models.pull import remove

    for model in remove(name):
        say(f"Deleted {model.name} ({_size(model.size)}).")


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
