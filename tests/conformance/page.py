"""docs/models.md, from the support table."""

from atv.commands.models import notes

HEAD = """# Models

This page lists which image-text-to-text types of transformers {transformers} work with `atv`; `atv models` prints the
same. Of {all} types, {tested} were tried, of which {passing} pass every check; {refused} are [refused](#refused), and
{untried} were [not tried](#not-tried). Two (BLIP-2 and InstructBLIP) pass or are refused depending on their language
model.

`make models` writes this page from the conformance suite (`tests/conformance/`). For each type, the suite builds a tiny
random model from its config class and gives it the inputs that its processor would return. It runs these checks:

{checks}

| type | class | {names} | notes |
|---|---|{bars}|---|
"""

TAIL = """
## What the notes mean

**Visual tokens** are the positions of `input_ids` into which the model writes what it saw. Most types mark them with a
token id; Kosmos-2's processor returns a mask. Some types write a learned vector at the end of each row of a picture.
These **row ends** stand among the visual tokens and count as visual, although they do not depend on the pixels.

**Cross-attention** (Mllama): visual tokens never enter the decoder, so every token of its stream is text, `<|image|>`
too. This has several consequences:

- Rules that select text and rules that select everything give the same masks (Wanda's).
- `VisualOnly` has nothing to select and says so.
- The drift budget is empty.
- Decoupled pathways route every token to the textual weight.
- The keys and values of cross-attention stay dense, because they read the vision tower's states, which no rule can
  select.
- A forward without a picture skips the cross-attention blocks, and its tokens do not count there. A calibration set
  without any picture is an error.

**Left dense** lists the parameters that `atv` does not prune, without the block's number: everything that is neither a
Linear nor an expert (convolutions, the decay of linear attention), routers and gates of shared experts, and weights
that read no token. `report.json` has the full list under `left_dense`. Norms are never pruned and never listed.

Two more kinds of Linears stay dense, for the same reason as routers: in them, few weights decide where much larger ones
are used. They are the **indexers** of sparse attention, which choose the tokens that are attended to, and **AltUp** and
**hyper-connections** (Qwen 4), which mix residual streams.

**Residual streams** (Gemma 3n, GLM 5, Qwen 4): if a decoder passes on several vectors per token, `atv` concatenates
them, whatever their layout, and measures the drift of all of them together. Inkling 2 passes on one sum of its blocks'
outputs, and every sixth block starts a new sum. The drift of such a block compares two sums that have nothing in
common, so it says little, and `BlockInfluence` ranks the block too high.

**Shared keys and values** (Gemma 4): with decoupled pathways, the last blocks read every position of a prompt, where
`generate` alone would pass them only the last positions. The answers are the same.

**Batches** (Hunyuan VL, Kosmos-2.5, MiniMax M3 VL, Mistral Large 4): transformers counts the padding of a row, or the
pictures of earlier rows, so the model reads a prompt differently in a batch than alone. A command that would read or
ask prompts in such a batch stops and asks for `--batch_size 1`. For all other types, the answers do not depend on the
batch, the order of its rows or the side of the padding. This also holds without a cache, except for ERNIE 4.5 VL, which
fails without one.

**Clips** are videos with tokens of their own. Types without this note take videos as pictures, or not at all. Audio
counts as text.

**generation** fails for two reasons; ordinary pruning is not affected by either:

- **Latent attention** (MLA: dots3, GLM 5, Kimi K2.5, Mistral Large 4) expands the cache of all earlier tokens again at
  each step, and the modality of these tokens is lost. Decoupled Linears stop with an error, so you cannot evaluate such
  models decoupled. `generate(use_cache=False)` works.
- **A `generate` that calls the language model without the model's own `forward`** does not tell the decoupled Linears
  which tokens are visual. They stop with an error that says so.

## Refused

If `atv` cannot prune a model, it stops before any work, with an error that names the model and the reason.

| type | reason |
|---|---|
"""

NOT_TRIED = """
## Not tried

The suite has no tiny model of these types. They may work as they are; to find out, add one short entry to
`tests/conformance/families/`.

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
