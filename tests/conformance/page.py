"""docs/models.md, from the support table."""

from atv.commands.models import notes

HEAD = """# Models

Which image-text-to-text types of transformers {transformers} work. Made by `make models` from the conformance suite
(`tests/conformance/`), which builds a tiny random model of each type from its config class and gives it the inputs
that its processor would return; `atv models` prints the same. Of {all} types {tested} were tried, of which {passing}
pass every check, {refused} are refused, and {untried} were [not tried](#not-tried).

{checks}

| type | class | {names} | notes |
|---|---|{bars}|---|
"""

TAIL = """
## What the notes mean

**Visual tokens** are the positions of `input_ids` into which the model writes what it saw. Most types have an id for
them; Kosmos-2's processor gives a mask. Some write a learned vector at the end of each row of a picture: **row ends**
stand among the visual tokens, do not depend on the pixels, and count as visual.

**Cross-attention** (Mllama): visual tokens never enter the decoder, so every token of its stream is text, `<|image|>`
too. Rules that select text and rules that select everything then give the same masks (Wanda's), `VisualOnly` has
nothing to pick and says so, the drift budget is empty, and decoupled pathways route everything to the textual weight.
The keys and values of cross-attention read the vision tower's states, which no rule can select: they stay dense.
A forward without a picture skips the cross-attention blocks, and its tokens do not count there; a calibration set
without any picture is an error.

**Left dense** names, without the block's number, what is neither Linear nor expert (convolutions, the decay of
linear attention), routers and gates of shared experts, and what reads no token. `report.json` lists it in full under
`left_dense`. Norms are never pruned and never listed.

Two more kinds of Linears stay dense as routers do, and for the same reason, that few weights decide where much larger
ones are of use: the **indexers** of sparse attention, which choose the tokens that are attended to, and **AltUp** and
**hyper-connections** (Qwen 4), which mix residual streams.

**Residual streams** (Gemma 3n, GLM 5, Qwen 4): where a decoder hands on several vectors a token, they are seen as if
they lay end to end, whichever way it lays them; drift is then of all of them together. Inkling 2 hands on one sum of
what its blocks add, and every sixth block starts another: its drift compares two sums that have nothing in common, so
that it says little, and `BlockInfluence` ranks such blocks too high.

**Shared keys and values** (Gemma 4): with decoupled pathways, the last blocks are given every position of a prompt,
where `generate` would give them only the last ones. The answers are the same.

**Batches** (Hunyuan VL, Kosmos-2.5, MiniMax M3 VL, Mistral Large 4): transformers counts the padding of a row, or the
pictures of the rows before, so that prompts are not read in a batch as they are alone. Commands that read or ask them
so refuse such a batch and want `--batch_size 1`. Of all other types answers are the same whatever the batch, the order
of its rows and the side of the padding; without a cache, too, but for ERNIE 4.5 VL, which then fails.

**Clips** are videos with tokens of their own. Types without the note take videos as pictures, or not at all. Audio
counts as text.

**generation** fails under latent attention (MLA: dots3, GLM 5, Kimi K2.5, Mistral Large 4), where each step expands
anew what is cached of all tokens, whose modality is then lost: decoupled Linears refuse that, so that such models
are not evaluated decoupled; `generate(use_cache=False)` works. It fails, too, where a model's `generate` calls its
language model without its own `forward`: nobody then tells the decoupled Linears which tokens are visual, and they say
so. Ordinary pruning is not concerned.

## Refused

`atv` refuses a model that it cannot prune, by name and with the reason, before any work.

| type | reason |
|---|---|
"""

NOT_TRIED = """
## Not tried

These have no tiny twin in the suite. They may work as they are; one short entry in `tests/conformance/families/` tells.

| type | what is known |
|---|---|
"""


def page(found):
    """The whole page, as markdown."""
    checks, types = found["checks"], found["types"]
    head = HEAD.format(
        transformers=found["transformers"],
        passing=sum(not row["failed"] for row in types.values()),
        tested=len(types),
        all=len(types.keys() | found["refused"].keys() | found["untried"].keys()),
        refused=len(found["refused"]),
        untried=len(found["untried"]),
        checks="\n".join(f"- **{name}**: {text}" for name, text in checks.items()),
        names=" | ".join(checks),
        bars="|".join("---" for _ in checks),
    )
    rows = "".join(line(kind, row, checks) for kind, row in types.items())
    return head + rows + TAIL + reasons(found["refused"]) + NOT_TRIED + reasons(found["untried"])


def line(kind, row, checks):
    marks = " | ".join("no" if check in row["failed"] else "yes" for check in checks)
    return f"| {kind} | {row['class']} | {marks} | {notes(row)} |\n"


def reasons(by_kind):
    return "".join(f"| {kind} | {reason} |\n" for kind, reason in by_kind.items())
